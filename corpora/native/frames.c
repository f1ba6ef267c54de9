// Pointers into stack frames that are gone, frame chains that are broken; and pointers into stacks that are innocent.
#define _GNU_SOURCE
#include "truth.h"
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

struct ctx { uint64_t magic; uint64_t step; char text[48]; };
static struct { uint64_t magic; struct ctx *where; } g_job = { 0x4a4f423030303031, NULL };
static volatile uint64_t g_sink;

static NOIPA void use(struct ctx *c) { g_sink += c->step; }
static NOIPA void publish(void) {
	struct ctx c = { 0x4354583030303031, 7, "a context on the stack" };
	g_job.where = &c;
	use(&c);
}
static NOIPA void deep_publish(int n) {
	volatile char pad[128];
	pad[n] = (char)n;
	if (n == 0)
		publish();
	else
		deep_publish(n - 1);
	g_sink += pad[n];
}
static void note_job(const char *into) { object("g_job", "struct job", &g_job, "field=where value=%p into=%s", (void *)g_job.where, into); }

void frame_below(void) { // far below the stack pointer at the end
	deep_publish(40);
	note_job("below the stack pointer");
	planted("native.frame-pointer.dangling", "g_job", "field=where");
}
static NOIPA void cover(int depth) { // frames of other functions lie over the old one now
	volatile uint64_t pad[64];
	memset((void *)pad, 0x33, sizeof pad);
	if (depth)
		cover(depth - 1);
	else
		raise(SIGABRT);
	g_sink += pad[3];
}
void frame_inside(void) {
	deep_publish(4);
	note_job("a later frame of another function");
	planted("native.frame-pointer.dangling", "g_job", "field=where");
	cover(12);
}
static void *publisher(void *p) {
	deep_publish(4);
	return p;
}
void frame_thread(void) { // on the stack of a thread that has ended; glibc keeps the mapping for the next
	join(start(publisher, NULL));
	note_job("the stack of a thread that has ended");
	planted("native.frame-pointer.dangling", "g_job", "field=where");
}
static void *living(void *p) {
	struct ctx c = { 0x4354583030303031, 9, "a context in a living frame" };
	g_job.where = &c;
	here("living", "sleep", &c, __func__);
	long_sleep();
	use(&c);
	return p;
}
void frame_live(void) {
	start(living, NULL);
	settle(1);
	note_job("a living frame of the thread living");
	healthy();
}
static jmp_buf g_jump;
static char g_alt[32768];
static char **g_args;
extern char **environ;
static NOIPA int jumper(int n) {
	if (setjmp(g_jump))
		return n;
	g_sink += n;
	return n + 1;
}
void frame_innocent(void) { // a jmp_buf of a frame that returned, argv, environ, an alternate stack
	jumper(3);
	stack_t s = { .ss_sp = g_alt, .ss_size = sizeof g_alt };
	sigaltstack(&s, NULL);
	g_args = environ;
	healthy();
}

// __builtin_frame_address forces a frame pointer here, at every optimisation.
static NOIPA void smash(int crash) {
	void **fp = __builtin_frame_address(0);
	object("slot", "return address", &fp[1], "was=%p now=0x4242424242424242 in=smash", fp[1]);
	object("bp", "saved frame pointer", &fp[0], "was=%p now=0x4141414141414140 in=smash", fp[0]);
	planted("native.frame-chain.broken", "slot", "return address and saved frame pointer of smash");
	fp[0] = (void *)0x4141414141414140;
	fp[1] = (void *)0x4242424242424242;
	if (!crash)
		raise(SIGABRT);
	g_sink++;
}
void chain_hold(void) { smash(0); }
void chain_crash(void) { smash(1); }
