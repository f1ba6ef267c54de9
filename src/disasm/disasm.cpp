// capstone behind our own words. Two surprises: capstone leaves `access` empty for some instructions (then we say
// "read", and "written" for a destination of a mov), and it reports a memory operand for lea and nop, which access
// nothing.
#include "disasm/disasm.h"

#include <capstone/capstone.h>

#include <array>
#include <cstring>

#include "base/text.h"

namespace incident {
namespace {

constexpr std::size_t longest_instruction = 15;  // bytes, x86

/// capstone's names for the parts of one 64-bit register.
struct Family {
    const char* name;
    std::array<x86_reg, 5> parts;
};
constexpr Family families[] = {
    {"rax", {X86_REG_RAX, X86_REG_EAX, X86_REG_AX, X86_REG_AL, X86_REG_AH}},
    {"rbx", {X86_REG_RBX, X86_REG_EBX, X86_REG_BX, X86_REG_BL, X86_REG_BH}},
    {"rcx", {X86_REG_RCX, X86_REG_ECX, X86_REG_CX, X86_REG_CL, X86_REG_CH}},
    {"rdx", {X86_REG_RDX, X86_REG_EDX, X86_REG_DX, X86_REG_DL, X86_REG_DH}},
    {"rsi", {X86_REG_RSI, X86_REG_ESI, X86_REG_SI, X86_REG_SIL, X86_REG_SIL}},
    {"rdi", {X86_REG_RDI, X86_REG_EDI, X86_REG_DI, X86_REG_DIL, X86_REG_DIL}},
    {"rbp", {X86_REG_RBP, X86_REG_EBP, X86_REG_BP, X86_REG_BPL, X86_REG_BPL}},
    {"rsp", {X86_REG_RSP, X86_REG_ESP, X86_REG_SP, X86_REG_SPL, X86_REG_SPL}},
    {"r8", {X86_REG_R8, X86_REG_R8D, X86_REG_R8W, X86_REG_R8B, X86_REG_R8B}},
    {"r9", {X86_REG_R9, X86_REG_R9D, X86_REG_R9W, X86_REG_R9B, X86_REG_R9B}},
    {"r10", {X86_REG_R10, X86_REG_R10D, X86_REG_R10W, X86_REG_R10B, X86_REG_R10B}},
    {"r11", {X86_REG_R11, X86_REG_R11D, X86_REG_R11W, X86_REG_R11B, X86_REG_R11B}},
    {"r12", {X86_REG_R12, X86_REG_R12D, X86_REG_R12W, X86_REG_R12B, X86_REG_R12B}},
    {"r13", {X86_REG_R13, X86_REG_R13D, X86_REG_R13W, X86_REG_R13B, X86_REG_R13B}},
    {"r14", {X86_REG_R14, X86_REG_R14D, X86_REG_R14W, X86_REG_R14B, X86_REG_R14B}},
    {"r15", {X86_REG_R15, X86_REG_R15D, X86_REG_R15W, X86_REG_R15B, X86_REG_R15B}},
};

bool is_trap(unsigned id) {
    return id == X86_INS_INT3 || id == X86_INS_INT1 || id == X86_INS_UD0 || id == X86_INS_UD2 || id == X86_INS_UD2B ||
           id == X86_INS_HLT;
}

Flow flow_of(csh handle, const cs_insn& raw) {
    const cs_x86& x86 = raw.detail->x86;
    const bool direct = x86.op_count > 0 && x86.operands[0].type == X86_OP_IMM;
    if (is_trap(raw.id)) return Flow::trap;
    if (raw.id == X86_INS_CALL || raw.id == X86_INS_LCALL) return direct ? Flow::call : Flow::indirect_call;
    if (raw.id == X86_INS_JMP || raw.id == X86_INS_LJMP) return direct ? Flow::jump : Flow::indirect_jump;
    if (cs_insn_group(handle, &raw, CS_GRP_RET) || cs_insn_group(handle, &raw, CS_GRP_IRET)) return Flow::ret;
    // loop, jrcxz and xbegin are in the jump group or in none: all of them may fall through.
    if (cs_insn_group(handle, &raw, CS_GRP_JUMP) || raw.id == X86_INS_LOOP || raw.id == X86_INS_LOOPE ||
        raw.id == X86_INS_LOOPNE || raw.id == X86_INS_XBEGIN)
        return Flow::conditional_jump;
    return Flow::next;
}

bool is_move(unsigned id) {
    return id == X86_INS_MOV || id == X86_INS_MOVABS || id == X86_INS_MOVUPS || id == X86_INS_MOVAPS ||
           id == X86_INS_MOVDQU || id == X86_INS_MOVDQA || id == X86_INS_MOVQ || id == X86_INS_MOVD;
}

}  // namespace

struct Disassembler::State {
    const Machine* machine = nullptr;
    csh handle = 0;
    cs_insn* insn = nullptr;
    std::array<std::int8_t, X86_REG_ENDING> index_of{};  ///< capstone register -> Machine row, -1: none

    ~State() {
        if (insn != nullptr) cs_free(insn, 1);
        if (handle != 0) cs_close(&handle);
    }
    std::optional<unsigned> row(unsigned reg) const {
        if (reg >= index_of.size() || index_of[reg] < 0) return std::nullopt;
        return static_cast<unsigned>(index_of[reg]);
    }
};

Disassembler::Disassembler(std::unique_ptr<State> state) : state_(std::move(state)) {}
Disassembler::Disassembler(Disassembler&&) noexcept = default;
Disassembler::~Disassembler() = default;

Result<Disassembler> Disassembler::create(const Machine& machine) {
    if (machine.elf_machine != 62 /* EM_X86_64 */)
        return fail(ErrorKind::unsupported, "no disassembler for " + std::string(machine.name));
    auto state = std::make_unique<State>();
    state->machine = &machine;
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &state->handle) != CS_ERR_OK) {
        state->handle = 0;
        return fail(ErrorKind::io, "capstone cannot be opened");
    }
    cs_option(state->handle, CS_OPT_DETAIL, CS_OPT_ON);
    state->insn = cs_malloc(state->handle);
    if (state->insn == nullptr) return fail(ErrorKind::io, "capstone is out of memory");
    state->index_of.fill(-1);
    for (const Family& family : families)
        for (std::size_t i = 0; i < machine.registers.size(); ++i)
            if (machine.registers[i].name == family.name)
                for (x86_reg part : family.parts) state->index_of[part] = static_cast<std::int8_t>(i);
    return Disassembler(std::move(state));
}

Result<Instruction> Disassembler::decode(const Memory& memory, Address pc) const {
    std::array<std::byte, longest_instruction> copy;
    auto bytes = TRY(memory.view_up_to(pc, longest_instruction));
    if (bytes.size() < longest_instruction) {  // at a segment's end: the instruction may cross into the next
        std::size_t held = bytes.size();
        std::memcpy(copy.data(), bytes.data(), held);
        if (auto rest = memory.view_up_to(pc + held, longest_instruction - held)) {
            std::memcpy(copy.data() + held, rest->data(), rest->size());
            held += rest->size();
        }
        bytes = std::span(copy.data(), held);
    }

    const auto* code = reinterpret_cast<const std::uint8_t*>(bytes.data());
    std::size_t left = bytes.size();
    std::uint64_t at = pc.value;
    cs_insn& raw = *state_->insn;
    if (!cs_disasm_iter(state_->handle, &code, &left, &at, &raw))
        return fail(ErrorKind::unsupported, "undecodable instruction", pc);

    const cs_x86& x86 = raw.detail->x86;
    Instruction out;
    out.pc = pc;
    out.size = raw.size;
    out.mnemonic = raw.mnemonic;
    out.operands = raw.op_str;
    out.flow = flow_of(state_->handle, raw);
    out.lea = raw.id == X86_INS_LEA;
    const bool touches_nothing = out.lea || raw.id == X86_INS_NOP;
    for (unsigned i = 0; i < x86.op_count; ++i) {
        const cs_x86_op& operand = x86.operands[i];
        if (operand.type == X86_OP_IMM) {
            if (out.flow == Flow::call || out.flow == Flow::jump || out.flow == Flow::conditional_jump)
                out.target = Address{static_cast<std::uint64_t>(operand.imm)};
            else
                out.immediate = operand.imm;
        } else if (operand.type == X86_OP_REG) {
            const bool written = i == 0 && (operand.access & CS_AC_WRITE || is_move(raw.id));
            if (written)
                out.destination = state_->row(operand.reg);
            else if (i > 0 || operand.access != CS_AC_WRITE)
                out.source = state_->row(operand.reg);
        } else if (operand.type == X86_OP_MEM) {
            MemoryOperand mem;
            mem.base = state_->row(operand.mem.base);
            mem.index = state_->row(operand.mem.index);
            mem.scale = static_cast<unsigned>(operand.mem.scale);
            mem.displacement = operand.mem.disp;
            mem.fs_relative = operand.mem.segment == X86_REG_FS;
            mem.gs_relative = operand.mem.segment == X86_REG_GS;
            mem.size = operand.size;
            if (operand.mem.base == X86_REG_RIP)
                mem.absolute = pc + raw.size + static_cast<std::uint64_t>(operand.mem.disp);
            else if (operand.mem.base == X86_REG_INVALID && operand.mem.index == X86_REG_INVALID && !mem.fs_relative &&
                     !mem.gs_relative)
                mem.absolute = Address{static_cast<std::uint64_t>(operand.mem.disp)};
            if (!touches_nothing) {
                mem.read = (operand.access & CS_AC_READ) != 0;
                mem.written = (operand.access & CS_AC_WRITE) != 0;
                if (!mem.read && !mem.written) {
                    mem.written = i == 0 && is_move(raw.id);
                    mem.read = !mem.written;
                }
            }
            out.memory.push_back(mem);
        }
    }
    out.locked = x86.prefix[0] == X86_PREFIX_LOCK || (raw.id == X86_INS_XCHG && !out.memory.empty());
    return out;
}

std::vector<Instruction> Disassembler::decode_range(const Memory& memory, AddressRange range, std::size_t limit,
                                                    bool* complete) const {
    std::vector<Instruction> out;
    if (complete != nullptr) *complete = true;
    for (Address at = range.begin; at < range.end && out.size() < limit;) {
        auto instruction = decode(memory, at);
        if (!instruction) {
            if (complete != nullptr) *complete = false;
            break;
        }
        at += instruction->size;
        out.push_back(std::move(*instruction));
    }
    return out;
}

std::optional<Instruction> Disassembler::call_before(const Memory& memory, Address pc) const {
    if (!may_be_return_address(memory, pc)) return std::nullopt;
    auto try_size = [&](unsigned size, Flow flow) -> std::optional<Instruction> {
        auto instruction = decode(memory, pc - size);
        if (instruction && instruction->size == size && instruction->flow == flow) return std::move(*instruction);
        return std::nullopt;
    };
    // A direct call to mapped memory is the best reading. Of indirect ones the longest, so that a tail of an operand
    // that looks like `call rax` does not win over the whole instruction.
    if (auto direct = try_size(5, Flow::call); direct && direct->target && memory.is_mapped(*direct->target))
        return direct;
    for (unsigned size = 9; size >= 2; --size)
        if (auto indirect = try_size(size, Flow::indirect_call)) return indirect;
    return std::nullopt;
}

std::optional<Address> Disassembler::effective_address(const MemoryOperand& operand, const Registers& registers) {
    if (operand.absolute) return operand.absolute;
    std::uint64_t sum = static_cast<std::uint64_t>(operand.displacement);
    if (operand.base) {
        auto value = registers.get(*operand.base);
        if (!value) return std::nullopt;
        sum += *value;
    }
    if (operand.index) {
        auto value = registers.get(*operand.index);
        if (!value) return std::nullopt;
        sum += *value * operand.scale;
    }
    if (operand.fs_relative || operand.gs_relative) {
        auto value = registers.get(operand.fs_relative ? "fs_base" : "gs_base");
        if (!value) return std::nullopt;
        sum += *value;
    }
    return Address{sum};
}

}  // namespace incident
