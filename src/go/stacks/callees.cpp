// What a deferred closure calls. Since Go 1.17 `defer mu.Unlock()` defers a wrapper without arguments, f.deferwrapN
// (1.22+), f.funcN (1.18–1.21) or f·dwrap·N (1.17), that loads what it captured and calls. We look through it: by the
// inlined calls in its pclntab, else by following its few straight-line instructions with what the closure holds.
#include <array>
#include <unordered_map>

#include "go/stacks/defers.h"

namespace incident::go {

namespace {

constexpr std::size_t max_instructions = 96;

bool ends_in_number_after(std::string_view name, std::string_view word) {
    auto at = name.rfind(word);
    if (at == std::string_view::npos) return false;
    auto digits = name.substr(at + word.size());
    return !digits.empty() && digits.find_first_not_of("0123456789") == std::string_view::npos;
}

bool is_wrapper(const Func& func) {
    return func.wrapper || ends_in_number_after(func.name, ".deferwrap") ||
           ends_in_number_after(func.name, "·dwrap·") || func.name.ends_with("-fm");
}

/// A method value's wrapper bears the method's name and a suffix.
std::string_view without_fm(std::string_view name) {
    if (name.ends_with("-fm")) name.remove_suffix(3);
    return name;
}

/// Helpers that compiled code calls on its way: not what the wrapper is for.
bool is_helper(std::string_view name) {
    return name.starts_with("runtime.morestack") || name.starts_with("runtime.gcWriteBarrier") ||
           name.starts_with("runtime.wb") || name.starts_with("runtime.duff") || name == "runtime.panicwrap" ||
           name == "runtime.typedmemmove" || name == "runtime.newobject";
}

/// The register contents that straight-line code makes out of the closure.
class Evaluator {
public:
    Evaluator(const Memory& memory, const Machine& machine, Address closure)
        : memory_(memory), machine_(machine), registers_(machine) {
        registers_.set("rdx", closure.value);  // Go's closure register
        // Any frame will do: slots are remembered by their address relative to this one.
        registers_.set_sp(Address{1ull << 62});
        registers_.set_fp(Address{(1ull << 62) + 0x1000});
    }

    void apply(const Instruction& instruction) {
        const bool moves = instruction.mnemonic.starts_with("mov") && instruction.mnemonic.size() <= 6;
        if (instruction.mnemonic == "sub" || instruction.mnemonic == "add" || instruction.mnemonic == "push" ||
            instruction.mnemonic == "pop") {
            if (instruction.destination && *instruction.destination != machine_.sp &&
                *instruction.destination != machine_.fp)
                registers_.forget(*instruction.destination);
            if (instruction.immediate && instruction.destination == machine_.sp) {
                auto sp = registers_.sp();
                std::uint64_t by = static_cast<std::uint64_t>(*instruction.immediate);
                if (sp) registers_.set_sp(instruction.mnemonic == "sub" ? *sp - by : *sp + by);
            }
            return;
        }
        if (moves && !instruction.destination && instruction.source && !instruction.memory.empty()) {
            if (auto at = Disassembler::effective_address(instruction.memory[0], registers_)) {
                auto value = registers_.get(*instruction.source);
                if (value)
                    stores_[at->value] = *value;
                else
                    stores_.erase(at->value);
            }
            return;
        }
        if (!instruction.destination) return;
        const unsigned destination = *instruction.destination;
        std::optional<std::uint64_t> value;
        if (instruction.lea && !instruction.memory.empty()) {
            if (auto at = Disassembler::effective_address(instruction.memory[0], registers_)) value = at->value;
        } else if (moves && !instruction.memory.empty() && instruction.memory[0].size == 8 &&
                   !instruction.memory[0].fs_relative) {
            value = load(instruction.memory[0]);
        } else if (moves && instruction.source) {
            value = registers_.get(*instruction.source);
        }
        if (value)
            registers_.set(destination, *value);
        else
            registers_.forget(destination);
    }

    /// Where an indirect call goes: through a register, or a word in memory.
    std::optional<Address> call_target(const Instruction& instruction) const {
        if (!instruction.memory.empty()) {
            if (auto value = load(instruction.memory[0])) return Address{*value};
            return std::nullopt;
        }
        std::optional<unsigned> via = instruction.source ? instruction.source : instruction.destination;
        if (!via) {
            for (unsigned i = 0; i < machine_.registers.size(); ++i) {
                if (machine_.registers[i].name == instruction.operands) via = i;
            }
        }
        auto value = via ? registers_.get(*via) : std::nullopt;
        return value ? std::optional(Address{*value}) : std::nullopt;
    }

    void clobber() {
        auto sp = registers_.sp(), fp = registers_.fp();
        registers_.forget_all();
        if (sp) registers_.set_sp(*sp);
        if (fp) registers_.set_fp(*fp);
    }

private:
    std::optional<std::uint64_t> load(const MemoryOperand& operand) const {
        auto at = Disassembler::effective_address(operand, registers_);
        if (!at) return std::nullopt;
        if (auto stored = stores_.find(at->value); stored != stores_.end()) return stored->second;
        auto value = memory_.load<std::uint64_t>(*at);
        return value ? std::optional(*value) : std::nullopt;
    }

    const Memory& memory_;
    const Machine& machine_;
    Registers registers_;
    std::unordered_map<std::uint64_t, std::uint64_t> stores_;
};

}  // namespace

struct CalleeResolver::State {
    const Memory& memory;
    const Runtime& runtime;
    CodeTable& code;
    const Disassembler* disassembler;
    struct Known {
        std::optional<Func> func;
        std::string_view inlined;  ///< a call inlined into the wrapper
        Address direct;            ///< a call that does not depend on the closure
        bool wrapper = false;
    };
    std::unordered_map<std::uint64_t, Known> by_entry;

    const Known& known(Address entry) {
        auto [slot, fresh] = by_entry.try_emplace(entry.value);
        if (!fresh) return slot->second;
        Known& known = slot->second;
        known.func = runtime.find_func(entry);
        if (!known.func || known.func->table == nullptr) {
            known.func.reset();
            return known;
        }
        known.wrapper = is_wrapper(*known.func);
        if (!known.wrapper) return known;
        // FUNCDATA_WrapInfo (1.18+): offset of the wrapped function from the module's text.
        if (auto at = known.func->table->funcdata(*known.func, FuncData::wrap_info)) {
            auto offset = memory.load<std::uint32_t>(*at);
            if (offset) known.direct = known.func->table->text().begin + *offset;
        }
        return known;
    }

    /// The wrapper's call: inlined, direct, or through what the closure holds.
    Callee look_through(const Func& wrapper, Address closure) {
        Callee callee{.entry = wrapper.entry, .function = {}, .wrapper = code.printed_name(wrapper.name)};
        if (disassembler == nullptr) return callee;
        Evaluator evaluator(memory, x86_64(), closure);
        bool complete = false;
        for (const auto& instruction :
             disassembler->decode_range(memory, {wrapper.entry, wrapper.end}, max_instructions, &complete)) {
            auto frames = wrapper.table->logical_frames(wrapper, instruction.pc);
            if (frames.size() > 1) {
                // The outermost inlined call is what the source deferred.
                callee.function = code.printed_name(frames[frames.size() - 2].function);
                return callee;
            }
            std::optional<Address> target;
            if (instruction.flow == Flow::call || instruction.flow == Flow::jump) target = instruction.target;
            if (instruction.flow == Flow::indirect_call || instruction.flow == Flow::indirect_jump)
                target = evaluator.call_target(instruction);
            const bool inside = target && *target >= wrapper.entry && *target < wrapper.end;
            if (target && !inside) {
                auto func = runtime.find_func(*target);
                if (func && !is_helper(func->name)) {
                    callee.entry = func->entry;
                    callee.function = without_fm(code.printed_name(func->name));
                    return callee;
                }
            }
            if (instruction.flow == Flow::ret || instruction.flow == Flow::trap) break;
            if (instruction.flow == Flow::call || instruction.flow == Flow::indirect_call) {
                if (!target) break;
                evaluator.clobber();
            } else {
                evaluator.apply(instruction);
            }
        }
        return callee;
    }
};

CalleeResolver::CalleeResolver(const Memory& memory, const Runtime& runtime, CodeTable& code,
                               const Disassembler* disassembler)
    : state_(new State{memory, runtime, code, disassembler, {}}) {}
CalleeResolver::~CalleeResolver() = default;
CalleeResolver::CalleeResolver(CalleeResolver&&) noexcept = default;

CalleeResolver::Callee CalleeResolver::resolve(Address closure) {
    auto entry = state_->memory.load_address(closure);
    if (!entry) return {};
    const State::Known& known = state_->known(*entry);
    if (!known.func) return {.entry = *entry, .function = {}, .wrapper = {}};
    if (!known.wrapper)
        return {.entry = *entry, .function = state_->code.printed_name(known.func->name), .wrapper = {}};
    if (!known.direct.is_null()) {
        if (auto func = state_->runtime.find_func(known.direct); func && func->entry == known.direct) {
            return {.entry = func->entry,
                    .function = state_->code.printed_name(func->name),
                    .wrapper = state_->code.printed_name(known.func->name)};
        }
    }
    Callee callee = state_->look_through(*known.func, closure);
    if (callee.function.empty()) callee.function = without_fm(callee.wrapper);
    return callee;
}

}  // namespace incident::go
