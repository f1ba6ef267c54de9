#include "detect/surely_kept.h"

namespace incident::detect {

bool SurelyKept::operator()(go::SlotId slot) {
    if (heap_ == nullptr || !heap_->live(slot)) return false;
    if (!reach_) {
        reach_.emplace(*heap_);
        reach_->add_roots([](const go::Root& root) { return !root.conservative; });
    }
    return reach_->contains(slot);
}

bool SurelyKept::holds(Address word) {
    if (heap_ == nullptr) return true;
    const auto slot = heap_->slot_of(word);
    return !slot || (*this)(*slot);
}

}  // namespace incident::detect
