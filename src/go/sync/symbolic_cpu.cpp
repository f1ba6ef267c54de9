// Single steps on symbols: see symbolic_cpu.h.
#include "go/sync/symbolic_cpu.h"

#include <algorithm>
#include <cstring>

namespace incident::go {

namespace {

constexpr std::size_t max_cells = 256;

bool overlaps(const Cell& cell, Symbolic at, unsigned size) {
    if (cell.at.base != at.base) return false;
    const auto distance = static_cast<std::int64_t>(cell.at.offset - at.offset);
    return distance < static_cast<std::int64_t>(size) && distance > -static_cast<std::int64_t>(cell.size);
}

/// Calls fn(row of Cells::ends_) for each eight bytes that the range touches.
template <class Fn>
void for_each_word(const Symbolic& at, unsigned size, Fn&& fn) {
    const std::uint64_t first = at.offset >> 3, last = (at.offset + std::max(size, 1u) - 1) >> 3;
    for (std::uint64_t word = first;; word = (word + 1) & ~0ull >> 3) {  // addresses wrap round
        fn(static_cast<std::size_t>((at.base ^ word) * 0x9e3779b97f4a7c15ull >> 55));
        if (word == last) return;
    }
}

/// A number of the core's that tells a place, not a count. Sums and differences of two such mean nothing to us; what
/// they come to must not depend on where a stack or an object happens to lie.
bool names_a_place(const Symbolic& value) {
    constexpr std::uint64_t first = Symbolic::first_place;
    return value.known() && !value.literal && value.offset >= first && value.offset < -first;
}

/// The register or immediate that a step reads.
Symbolic source_of(SymbolicCpu& cpu, const CpuState& state, const CodeStep& step) {
    if (step.has_immediate) return {0, static_cast<std::uint64_t>(step.immediate), true};
    const Symbolic* source = state.find(step.source);
    return source != nullptr ? *source : cpu.fresh();
}

}  // namespace

const GeneralRows& rows() {
    static const GeneralRows table = [] {
        auto row = [](std::string_view name) { return x86_64().row_of(name).value(); };
        return GeneralRows{row("rax"), row("rbx"), row("rcx"), row("rdx"), row("rdi"), row("rsi"), row("r8"), row("r9"),
                           row("r10"), row("r11"), row("r12"), row("r13"), row("r14"), row("rsp"), row("rbp")};
    }();
    return table;
}

Symbolic* CpuState::find(int row) {
    const auto at = static_cast<std::size_t>(row);
    return row >= 0 && at < registers.size() ? &registers[at] : nullptr;
}

std::size_t Cells::bound(const Symbolic& at, unsigned size) const {
    if (size > widest) return cells_.size();
    std::size_t end = 0;
    for_each_word(at, size, [&](std::size_t word) { end = std::max<std::size_t>(end, ends_[word]); });
    return std::min(end, cells_.size());
}

const Cell* Cells::last_over(const Symbolic& at, unsigned size) const {
    for (std::size_t i = bound(at, size); i-- > 0;)
        if (overlaps(cells_[i], at, size)) return &cells_[i];
    return nullptr;
}

void Cells::write(const Cell& cell) {
    for (std::size_t i = bound(cell.at, 1); i-- > 0;)
        if (cells_[i].at == cell.at && cells_[i].size <= cell.size)
            cells_.erase(cells_.begin() + static_cast<std::ptrdiff_t>(i));
    cells_.push_back(cell);
    note(cell.at, cell.size, cells_.size());
}

void Cells::drop_oldest() {
    constexpr std::size_t often = 64;
    cells_.erase(cells_.begin());
    if (++dropped_ < often) return;
    dropped_ = 0;
    ends_ = {};
    for (std::size_t i = 0; i < cells_.size(); ++i) note(cells_[i].at, cells_[i].size, i + 1);
}

void Cells::note(const Symbolic& at, unsigned size, std::size_t end) {
    for_each_word(at, size, [&](std::size_t word) { ends_[word] = static_cast<std::uint16_t>(end); });
}

CpuState SymbolicCpu::blank() {
    CpuState state;
    for (Symbolic& value : state.registers) value = fresh();
    return state;
}

Symbolic SymbolicCpu::load(const CpuState& state, Symbolic at, unsigned size) {
    touch(at, size);
    if (const Cell* cell = state.memory.last_over(at, size))
        return cell->at == at && cell->size == size ? cell->value : fresh();
    if (at.known() && dead.contains(Address{at.offset})) return fresh();
    if (at.known() && footprint != nullptr) {
        const auto value = footprint->read(at, size);
        return value ? *value : fresh();
    }
    if (at.known()) {
        std::uint64_t value = 0;
        const std::byte* bytes = size <= 8 ? memory_.data_at(Address{at.offset}, size) : nullptr;
        if (bytes == nullptr) return fresh();
        std::memcpy(&value, bytes, size);
        return {0, value};
    }
    // The same unknown place twice holds the same unknown value.
    return size == 8 ? Symbolic{(at.base * 0x9e3779b97f4a7c15ull ^ at.offset * 0xc2b2ae3d27d4eb4full) | 1ull << 63, 0}
                     : fresh();
}

void SymbolicCpu::store(CpuState& state, Symbolic at, unsigned size, Symbolic value) {
    size = std::min(size, Cells::widest);
    touch(at, size);
    state.memory.write({at, value, static_cast<std::uint8_t>(size)});
    if (state.memory.size() > max_cells) {
        state.memory.drop_oldest();
        dropped_cells_ = true;
    }
}

Symbolic SymbolicCpu::operand(const CpuState& state, const CodeStep& step) {
    if (step.has_absolute) return {0, step.absolute.value};
    if (step.tls) return {~0ull, static_cast<std::uint64_t>(step.displacement)};
    Symbolic sum{0, static_cast<std::uint64_t>(step.displacement)};
    if (const Symbolic* base = state.find(step.base)) sum = base->plus(sum.offset);
    if (step.index < 0) return sum;
    const Symbolic* index = state.find(step.index);
    if (index == nullptr || !index->known()) return fresh();
    needs(*index);
    return sum.plus(index->offset * static_cast<unsigned>(step.scale));
}

Symbolic SymbolicCpu::part(const Symbolic& value, unsigned size) {
    if (size >= 8) return value;
    if (names_a_place(value)) return fresh();
    if (size >= 4 && value.offset < Symbolic::first_place) return value;
    needs(value);
    return {0, value.offset & ((1ull << size * 8) - 1), value.literal};
}

void SymbolicCpu::put(CpuState& state, int row, Symbolic value, unsigned width) {
    Symbolic* to = state.find(row);
    if (to == nullptr) return;
    if (width == 4 && value.known())
        value = part(value, 4);
    else if (width < 4 || (width == 4 && value.offset != 0))
        value = fresh();
    *to = value;
}

void SymbolicCpu::add(CpuState& state, const CodeStep& step) {
    if (step.has_memory && step.memory_written) return store(state, operand(state, step), step.memory_size, fresh());
    const Symbolic* old = state.find(step.destination);
    if (old == nullptr) return;
    Symbolic value = *old;
    Symbolic by = step.has_memory ? fresh() : source_of(*this, state, step);
    // What is added is a count; what it is added to may be a place, or unknown.
    bool swaps = !by.known() && value.known();
    if (by.known() && value.known())
        swaps = names_a_place(by) != names_a_place(value) ? names_a_place(by) : value.root == Footprint::no_root;
    if (swaps && step.kind == StepKind::add) std::swap(by, value);
    if (by.known() && !names_a_place(by)) {
        needs(by);
        value = value.plus(step.kind == StepKind::add ? by.offset : -by.offset);
        counted(value);
    } else {
        value = fresh();
    }
    put(state, step.destination, value, step.width);
}

void SymbolicCpu::bit_and(CpuState& state, const CodeStep& step) {
    if (step.has_memory) {
        if (step.memory_written)
            store(state, operand(state, step), step.memory_size, fresh());
        else
            put(state, step.destination, fresh(), 8);
        return;
    }
    const Symbolic* old = state.find(step.destination);
    const Symbolic by = source_of(*this, state, step);
    if (old == nullptr) return;
    const bool known = old->literal && by.literal;
    put(state, step.destination, known ? Symbolic{0, old->offset & by.offset, true} : fresh(), known ? 8 : step.width);
}

std::optional<bool> SymbolicCpu::jumps(const CpuState& state, const CodeStep& before, const CodeStep& step) {
    if (before.kind != StepKind::test || step.on_zero == 0) return std::nullopt;
    const Symbolic* value = state.find(before.destination);
    if (value == nullptr || !value->literal) return std::nullopt;
    const bool zero = (value->offset & static_cast<std::uint64_t>(before.immediate)) == 0;
    return zero == (step.on_zero > 0);
}

void SymbolicCpu::apply(CpuState& state, const CodeStep& step) {
    const GeneralRows& r = rows();
    switch (step.kind) {
        case StepKind::nothing:
        case StepKind::test: return;
        case StepKind::move:
            if (step.has_memory && step.destination < 0) {
                Symbolic value = source_of(*this, state, step);
                if (value.known() && step.memory_size < 8) value = part(value, step.memory_size);
                store(state, operand(state, step), step.memory_size, value);
            } else if (step.has_memory) {
                Symbolic value = step.tls ? fresh() : load(state, operand(state, step), step.memory_size);
                put(state, step.destination, value, std::max<unsigned>(step.width, value.known() ? 4u : step.width));
            } else {
                put(state, step.destination, source_of(*this, state, step), step.width);
            }
            return;
        case StepKind::lea: return put(state, step.destination, operand(state, step), step.width);
        case StepKind::zero: return put(state, step.destination, {0, 0, true}, 8);
        case StepKind::bit_and: return bit_and(state, step);
        case StepKind::add:
        case StepKind::subtract: return add(state, step);
        case StepKind::push: {
            const Symbolic value = source_of(*this, state, step);
            state[r.sp].offset -= 8;
            return store(state, state[r.sp], 8, value);
        }
        case StepKind::pop: {
            const Symbolic value = load(state, state[r.sp], 8);
            state[r.sp].offset += 8;
            return put(state, step.destination, value, 8);
        }
        case StepKind::wide_move:
            if (step.has_memory && step.memory_written) {
                const Symbolic at = operand(state, step);
                store(state, at, 8, step.zero_vector ? Symbolic{} : fresh());
                store(state, at.plus(8), 8, step.zero_vector ? Symbolic{} : fresh());
            } else {
                put(state, step.destination, fresh(), 8);
            }
            return;
        case StepKind::arithmetic_pair:
            state[r.rax] = fresh();
            state[r.rdx] = fresh();
            break;
        case StepKind::compare_exchange:
            if (step.has_memory && step.memory_written) store(state, operand(state, step), step.memory_size, fresh());
            if (Symbolic* destination = state.find(step.destination)) *destination = fresh();
            state[r.rax] = fresh();
            return;
        case StepKind::string_move:
            for (unsigned row : {r.rdi, r.rsi, r.rcx}) state[row] = fresh();
            return;
        case StepKind::other: break;
    }
    // xadd and xchg write their register too.
    if (step.has_memory && step.memory_written) {
        store(state, operand(state, step), step.memory_size, fresh());
        if (Symbolic* source = state.find(step.source)) *source = fresh();
    }
    Symbolic* destination = state.find(step.destination);
    if (destination != nullptr && destination != &state[r.sp]) *destination = fresh();
}

void SymbolicCpu::widen(CpuState& state, const CpuState& before) {
    const GeneralRows& r = rows();
    for (unsigned row = 0; row < state.registers.size(); ++row) {
        if (row != r.sp && row != r.bp && !equal(state[row], before[row])) state[row] = fresh();
        state[row].literal &= before[row].literal;
    }
    for (Cell& cell : state.memory)
        if (!equal(load(before, cell.at, cell.size), cell.value)) cell.value = fresh();
}

}  // namespace incident::go
