// native.frame-pointer.dangling: a variable of the program leads into a stack frame that is gone.
//
// Proof rule: the word lies in writable data of the executable (not in libc's or a library's) and leads (a) into the
// stack of a thread that has ended, below its thread block; (b) into a frame that lives, but whose own code never let
// an address of it out, or which by DWARF holds only numbers there while the pointer's type is a struct; (c) far below
// the stack pointer of a living thread. (a) and (b) are likely, (c) is likely with DWARF and else possible. Innocent
// look-alikes: jmp_buf (its words 6 and 7 are mangled), argv and environ above the outermost frame, addresses of pages
// (where a stack was mapped, or the next mapping was to go: qemu), pthread_t and thread-local storage at the top of a
// stack, alternate signal stacks, Go's own notes about stacks. Programs with event loops keep several pointers into
// frames that the next round makes anew (measured: vim 7, tmux 1, all but one in plain .bss): shallow ones, and more
// than two of (c), are no finding.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "detect/native.h"
#include "detect/native_names.h"
#include "detect/telling.h"
#include "process/escapes.h"

namespace incident::detect {

namespace {

using report::Finding;

constexpr std::int64_t shallow = 1024;           ///< bytes below sp that the next call covers anyway
constexpr std::int64_t shallow_untyped = 4096;   ///< where nothing says that the word is a pointer (g++)
constexpr std::size_t most_dead = 2;             ///< more words below sp: the program's habit
constexpr std::uint64_t block_reach = 16 << 10;  ///< the thread block lies this close to its mapping's end
constexpr std::uint64_t smallest_stack = 16 << 10;
constexpr std::uint64_t page = 4096;  ///< whoever keeps the address of one manages memory

class Frames {
public:
    explicit Frames(const Process& process)
        : process_(process), locator_(*process.locator), live_(), names_(process, locator_, live_) {
        for (const Image& image : process.images->all())
            for (const Section& section : image.sections())
                if (section.name == ".tbss" || section.name == ".tdata") tls_ += section.range.size() + 64;
    }

    Detection run() {
        const Image* executable = process_.images->executable();
        if (executable == nullptr) return std::move(detection_);
        for (const Section& section : executable->sections())
            if (section.writable && !section.name.starts_with(".t") && !section.name.starts_with(".got") &&
                !section.name.starts_with(".data.rel.ro"))
                scan(*executable, section.range);
        if (dead_.size() <= most_dead) std::ranges::move(dead_, std::back_inserter(detection_.findings));
        return std::move(detection_);
    }

private:
    using Guards = std::pair<std::uint64_t, std::uint64_t>;

    void scan(const Image& image, AddressRange range) {
        MemoryCursor cursor(process_.memory);
        AddressRange last{};  // a range that holds nothing of interest
        for (Address at{(range.begin.value + 7) & ~std::uint64_t{7}}; at + 8 <= range.end; at += 8) {
            std::uint64_t word;
            if (!cursor.load(at, word) || word == 0) continue;
            ++detection_.checked;
            Address to{word};
            if (word < 0x10000 || to.is_aligned(page) || word >> process_.core.machine().canonical_bits != 0 ||
                last.contains(to))
                continue;
            Placement place = locator_.place(to);
            if (place.kind == PlaceKind::native_stack)
                on_stack(image, at, place);
            else if (place.kind == PlaceKind::anonymous)
                elsewhere(image, at, place);
            else if (place.mapped())
                last = place.range;
        }
    }

    /// setjmp's buffer: rbx, rbp, r12 to r15, rsp, pc; rbp, rsp and pc are mangled (glibc jmpbuf-offsets.h).
    bool in_jump_buffer(Address at) const {
        for (unsigned index : {0u, 2u, 3u, 4u, 5u}) {
            auto sp = process_.memory.load<std::uint64_t>(at + (6 - index) * 8);
            auto pc = process_.memory.load<std::uint64_t>(at + (7 - index) * 8);
            if (sp && pc && *sp >> 47 != 0 && *pc >> 47 != 0) return true;
        }
        return false;
    }

    /// The runtime notes where stacks lie, of g0 and m0 in variables of its own: in a stripped program they have no
    /// name.
    bool of_go(Address at) const {
        if (locator_.symbol(at).starts_with("runtime.")) return true;
        if (!process_.go || !process_.goroutines) return false;
        const go::RuntimeLayout& layout = process_.go->layout();
        const auto in = [&](Address record, std::uint64_t size) { return at >= record && at < record + size; };
        return std::ranges::any_of(process_.goroutines->machines, [&](const go::Machine_m& m) {
            return in(m.m, layout.m.size) || in(m.g0, layout.g.size) || in(m.gsignal, layout.g.size);
        });
    }

    /// The process' random words, of which every thread block has a copy: stack_guard and pointer_guard.
    std::optional<Guards> guards_at(Address block) const {
        auto stack = process_.memory.load<std::uint64_t>(block + 40);
        auto pointer = process_.memory.load<std::uint64_t>(block + 48);
        return stack && pointer ? std::optional(Guards{*stack, *pointer}) : std::nullopt;
    }

    /// Not that of a living one: the kernel joins the main thread's with whatever is mapped beside it (g++'s heap).
    bool of_a_gone_thread(Address block) const {
        auto guards = guards_at(block);
        bool ours = false;
        for (const ThreadState& thread : process_.core.threads()) {
            const std::int8_t fs = thread.registers.machine().thread_pointer;
            auto tcb = fs < 0 ? std::nullopt : thread.registers.get(static_cast<std::uint8_t>(fs));
            if (!tcb) continue;
            if (Address{*tcb} == block) return false;
            ours |= guards && guards_at(Address{*tcb}) == guards;
        }
        return ours;
    }

    /// Glibc's threads: the thread block points to itself, at its start and 16 bytes on (struct pthread, tcbhead_t).
    /// So do empty lists, and the blocks of threads that an emulator has its guest run: those have no words of ours.
    std::optional<Address> thread_block(AddressRange mapping) const {
        Address begin = mapping.size() > block_reach ? mapping.end - block_reach : mapping.begin;
        for (Address at = begin.align_down(64); at + 24 <= mapping.end; at += 64) {
            auto self = process_.memory.load_address(at), again = process_.memory.load_address(at + 16);
            if (self && again && *self == at && *again == at && of_a_gone_thread(at)) return at;
        }
        return std::nullopt;
    }

    void elsewhere(const Image& image, Address at, const Placement& place) {
        AddressRange mapping = locator_.mapping(place.address);
        if (mapping.size() < smallest_stack || !locator_.threads_in(mapping).empty()) return;
        // The runtime's own memory, of which a stripped program does not say how far it reaches.
        if (locator_.runtime_bytes(mapping) != 0) return;
        auto block = thread_block(mapping);
        if (!block || place.address + tls_ >= *block || in_jump_buffer(at) || of_go(at)) return;
        auto name = name_of(image, at);
        auto finding = start(image, at, place.address, name);
        finding.strength = report::Strength::likely;
        finding.mark.fault = "stack of a thread that has ended";
        finding.title = fmt::format("{} leads into the stack of a thread that has ended", text(name, at));
        finding.why = fmt::format("{:#x} lies {:#x} below the thread block of a stack that no thread runs on",
                                  place.address.value, block->value - place.address.value);
        finding.evidence.push_back({"the thread block, kept with its stack for the next thread", block,
                                    "points to itself", "core", "structure"});
        detection_.findings.push_back(std::move(finding));
    }

    void on_stack(const Image& image, Address at, const Placement& place) {
        if (in_jump_buffer(at) || of_go(at)) return;
        if (place.part == StackPart::dead) {
            if (place.sp - place.address < shallow) return;
            auto name = name_of(image, at);
            if (!name.typed && place.sp - place.address < shallow_untyped) return;
            auto finding = start(image, at, place.address, name);
            finding.strength = name.typed ? report::Strength::likely : report::Strength::possible;
            finding.mark.fault = "below the stack pointer";
            finding.title = fmt::format("{} leads below the stack pointer: its frame is gone", text(name, at));
            finding.why = locator_.describe(place);
            finding.innocent.push_back("the pointer may be set anew before it is used again");
            dead_.push_back(std::move(finding));
            return;
        }
        if (place.part == StackPart::live && place.thread) in_frame(image, at, place);
    }

    void in_frame(const Image& image, Address at, const Placement& place) {
        const NativeThread* thread = process_.find_thread(*place.thread);
        if (thread == nullptr || thread->stack.native.size() != thread->stack.physical.size()) return;
        const auto& physical = thread->stack.physical;
        auto frame = std::ranges::find_if(physical, [&](const go::PhysicalFrame& f) {
            return !f.cfa.is_null() && place.address >= f.sp && place.address < f.cfa;
        });
        // Its caller must be certain too: else the frame's bounds are not.
        if (frame == physical.end() || frame + 1 == physical.end()) return;
        for (auto row = physical.begin(); row != frame + 2; ++row)
            if (row->trust >= report::Trust::frame_pointer || row->kind != report::FrameKind::native) return;
        auto index = static_cast<std::size_t>(frame - physical.begin());
        auto name = name_of(image, at);
        std::string why = mismatch(*thread, index, place.address, name);
        if (why.empty() && frame->after_call) {
            auto entry = function_entry(process_, frame->pc, (frame + 1)->pc);
            if (entry && keeps_addresses_in(process_, *entry, frame->pc))
                why = "that function has let no address of its frame out";
        }
        if (why.empty()) return;
        std::string function = function_of(*thread, index);
        auto finding = start(image, at, place.address, name);
        finding.strength = report::Strength::likely;
        finding.mark.fault = "into another function's frame";
        finding.title = fmt::format("{} leads into a frame of {}, which knows nothing of it", text(name, at), function);
        finding.why = why;
        finding.evidence.push_back({fmt::format("the frame that lies there now: {}", function), frame->sp,
                                    fmt::format("sp {:#x}, cfa {:#x}", frame->sp.value, frame->cfa.value), "core",
                                    "unwind data"});
        finding.threads.push_back(*place.thread);
        detection_.findings.push_back(std::move(finding));
    }

    /// By DWARF: numbers stand where the pointer's type wants a struct. Empty: nothing to say.
    std::string mismatch(const NativeThread& thread, std::size_t index, Address to, const WordName& name) const {
        if (!name.typed || name.type.empty()) return {};
        std::string_view wanted = name.type;
        if (!wanted.starts_with("struct ") && !wanted.starts_with("class ") && !wanted.starts_with("union ")) return {};
        Unwound stack;
        stack.frames = thread.stack.native;
        constexpr std::array numbers = {"int",    "long",  "uint64_t", "int64_t",  "uint32_t", "int32_t", "short",
                                        "double", "float", "size_t",   "unsigned", "uint16_t", "int16_t"};
        for (const Variable& variable : variables_of(stack, index, *process_.images, process_.memory)) {
            if (!variable.address || to < *variable.address || to >= *variable.address + variable.size) continue;
            std::string type = variable.type;
            for (std::string_view word : {"const ", "volatile "})
                if (auto found = type.find(word); found != std::string::npos) type.erase(found, word.size());
            if (type.find("char") != std::string::npos || type.find('*') != std::string::npos) return {};
            bool number = std::ranges::any_of(numbers, [&](std::string_view word) { return type.starts_with(word); });
            if (!number) return {};
            return fmt::format("{} {} of that frame lies there", variable.type, variable.name);
        }
        return {};
    }

    std::string function_of(const NativeThread& thread, std::size_t physical) const {
        for (std::size_t f = 0; f < thread.stack.frames.size(); ++f)
            if (thread.stack.frame_of[f] == physical) return place_in_source(thread.stack.frames[f]);
        return "an unknown function";
    }

    WordName name_of(const Image& image, Address at) {
        return names_.name({at, 0, LiveMemory::Source::data, &image, 0});
    }
    static std::string text(const WordName& name, Address at) {
        return name.text.empty() ? fmt::format("the word at {:#x}", at.value) : name.text;
    }

    Finding start(const Image& image, Address at, Address to, const WordName& name) {
        Finding finding;
        finding.kind = "native.frame-pointer.dangling";
        finding.severity = report::Severity::warning;
        // The variable that holds the word, where DWARF or a symbol tells where it begins.
        auto symbol = image.symbol_at(at);
        bool inside = symbol && symbol->size > 0 && at < symbol->address + symbol->size;
        finding.subject = {inside ? symbol->address : at, "variable", name.type, locator_.symbol(at)};
        finding.mark = names_.mark({at, 0, LiveMemory::Source::data, &image, 0});
        finding.evidence.push_back({fmt::format("{} holds it", text(name, at)), at,
                                    fmt::format("{:#x}: {}", to.value, locator_.describe(to)), "core",
                                    name.typed ? "dwarf" : "scan of data"});
        finding.verify.push_back(gdb_words(process_, at, 1));
        finding.remedy = "allocate what must outlive the call, or clear the pointer when the frame is left";
        return finding;
    }

    const Process& process_;
    const Locator& locator_;
    LiveMemory live_;
    WordNames names_;
    Detection detection_;
    std::vector<Finding> dead_;
    std::uint64_t tls_ = 256;  ///< bytes of static thread-local storage, at most; below the thread block
};

}  // namespace

Detection detect_native_frames(const Process& process) { return Frames(process).run(); }

}  // namespace incident::detect
