#include "truth.h"
#define MODES(M) \
	M(pt_orphan) M(pt_owner_asleep) M(pt_self) M(pt_recursive) M(pt_cycle2) M(pt_cycle3) M(pt_ordered) M(pt_robust_dead) M(pt_shared) M(pt_cond) \
	M(rw_orphan) M(rw_writer_asleep) M(rw_reader_asleep) \
	M(uaf_hold) M(uaf_large) M(uaf_crash) M(uaf_cleared) M(double_free) M(overrun_hold) M(overrun_abort) M(bad_free) M(free_interior) M(free_right) \
	M(hash_head) M(hash_array) M(hash_right) M(malloc_truth) M(malloc_threads) M(churn) \
	M(frame_below) M(frame_inside) M(frame_thread) M(frame_live) M(frame_innocent) M(chain_hold) M(chain_crash)
#define DECL(n) void n(void);
#define ROW(n) { #n, n },
MODES(DECL)
const struct mode modes[] = { MODES(ROW) { 0, 0 } };
