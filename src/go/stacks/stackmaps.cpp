// Stack maps; the rules are those of go1.16–1.27 src/runtime/stkframe.go, getStackMap (before 1.21 in stack.go).
#include "go/stacks/stackmaps.h"

#include <algorithm>

#include <fmt/format.h>

namespace incident::go {

namespace {

constexpr std::int32_t map_limit = 1 << 20;            // maps per function, words per frame: beyond any linker's output
constexpr std::uint64_t object_limit = 1 << 16;        // stack objects per frame
constexpr std::int32_t args_size_unknown = INT32_MIN;  // abi.ArgsSizeUnknown: reflect stubs

/// struct stackmap {n int32, nbit int32, bytedata [n][(nbit+7)/8]uint8}
constexpr std::int32_t last_map = -1;  // the arguments of assembly: the last map has the results too

Result<PointerMap> read_map(const Memory& memory, Address at, std::int32_t index) {
    PointerMap map;
    map.known = true;
    auto count = TRY(memory.load<std::int32_t>(at));
    auto words = TRY(memory.load<std::int32_t>(at + 4));
    if (count < 0 || count > map_limit || words < 0 || words > map_limit)
        return fail(ErrorKind::corrupt, fmt::format("stack map of {} times {} words", count, words), at);
    if (words == 0 || count == 0) return map;
    if (index == last_map) index = count - 1;
    if (index < 0 || index >= count)
        return fail(ErrorKind::corrupt, fmt::format("stack map {} of {}", index, count), at);
    map.words = static_cast<std::uint32_t>(words);
    std::size_t bytes = (map.words + 7) / 8;
    map.bits = TRY(memory.view(at + 8 + static_cast<std::uint64_t>(index) * bytes, bytes));
    return map;
}

struct ObjectRecord16 {  // up to 1.16
    std::int64_t offset;
    std::uint64_t type;
};
struct ObjectRecord17 {  // 1.17 alone
    std::int32_t offset, size, pointer_bytes;
    std::uint32_t padding;
    std::uint64_t mask;
};
struct ObjectRecord18 {                        // 1.18 on
    std::int32_t offset, size, pointer_bytes;  // pointer_bytes < 0 (up to 1.23): the mask is a GC program
    std::uint32_t mask_offset;                 // from moduledata.rodata
};

const ModuleData* module_of(const Runtime& runtime, Address pc) {
    for (const ModuleData& module : runtime.modules())
        if (module.text.contains(pc)) return &module;
    return nullptr;
}

std::span<const std::byte> view_or_empty(const Memory& memory, Address at, std::size_t size) {
    const std::byte* data = memory.data_at(at, size);
    return data == nullptr ? std::span<const std::byte>{} : std::span(data, size);
}

/// runtime._type, unchanged 1.16–1.27 where we look: size 0, ptrdata 8, gcdata 32; kind at 23 with KindGCProg 0x40
/// (≤1.23).
StackObject object_of_type(const Memory& memory, Address at, Address type) {
    StackObject object;
    object.type = type;
    object.range = {at, at};
    auto size = memory.load<std::uint64_t>(type), pointers = memory.load<std::uint64_t>(type + 8);
    auto kind = memory.load<std::uint8_t>(type + 23);
    auto mask = memory.load_address(type + 32);
    if (!size || !pointers || !kind || !mask || *size > (1u << 30) || *pointers > *size) return object;
    object.range.end = at + *size;
    object.pointer_words = static_cast<std::uint32_t>(*pointers / 8);
    if ((*kind & 0x40) == 0) object.bits = view_or_empty(memory, *mask, (object.pointer_words + 7) / 8);
    return object;
}

Result<std::vector<StackObject>> read_objects(const Memory& memory, const Runtime& runtime, const PhysicalFrame& frame,
                                              const Func& func, Address at) {
    auto count = TRY(memory.load<std::uint64_t>(at));
    if (count > object_limit) return fail(ErrorKind::corrupt, fmt::format("{} stack objects in one frame", count), at);
    const ModuleData* module = module_of(runtime, func.entry);
    std::vector<StackObject> objects;
    objects.reserve(count);
    // Negative offsets count from varp, the others from the arguments.
    auto place = [&](std::int64_t offset) {
        Address base = offset < 0 ? frame.varp().value_or(frame.cfa) : frame.cfa;
        return base + static_cast<std::uint64_t>(offset);
    };
    const int minor = runtime.version().minor;
    for (std::uint64_t i = 0; i < count; ++i) {
        Address record = at + 8 + i * (minor == 17 ? sizeof(ObjectRecord17) : sizeof(ObjectRecord18));
        if (minor < 17) {
            auto r = TRY(memory.load<ObjectRecord16>(record));
            objects.push_back(object_of_type(memory, place(r.offset), Address{r.type}));
            continue;
        }
        auto r = TRY(memory.load<ObjectRecord18>(record));
        if (r.size < 0 || r.pointer_bytes > r.size) return fail(ErrorKind::corrupt, "stack object record", record);
        StackObject object;
        Address begin = place(r.offset);
        object.range = {begin, begin + static_cast<std::uint64_t>(r.size)};
        bool program = r.pointer_bytes < 0;
        object.pointer_words = static_cast<std::uint32_t>(program ? r.size : r.pointer_bytes) / 8;
        if (!program && minor == 17)
            object.bits = view_or_empty(memory, Address{TRY(memory.load<ObjectRecord17>(record)).mask},
                                        (object.pointer_words + 7) / 8);
        else if (!program && module != nullptr && module->rodata)
            object.bits = view_or_empty(memory, *module->rodata + r.mask_offset, (object.pointer_words + 7) / 8);
        objects.push_back(object);
    }
    return objects;
}

}  // namespace

FrameMaps::Word FrameMaps::classify(Address a) const {
    // A variable whose address is taken is a stack object, and in the map too while the code itself still reads it.
    for (const PointerMap* map : {&locals, &args})
        if (map->known && map->covers(a) && map->pointer_at(a)) return Word::live_pointer;
    for (const StackObject& object : objects) {
        if (!object.range.contains(a)) continue;
        if (!object.mask_known()) return Word::unknown;
        return object.pointer_at(a) ? Word::object_pointer : Word::not_pointer;
    }
    for (const PointerMap* map : {&locals, &args})
        if (map->known && map->covers(a)) return Word::not_pointer;
    // Below the mapped words of a function that has a map lie outgoing arguments and spill slots of scalars.
    return Word::unknown;
}

Result<FrameMaps> frame_maps(const Memory& memory, const Runtime& runtime, const PhysicalFrame& frame) {
    if (frame.func() == nullptr || frame.func()->table == nullptr)
        return fail(ErrorKind::absent, "no Go function", frame.pc);
    const Func& func = *frame.func();
    const auto varp = frame.varp();
    FrameMaps maps;
    // As the runtime tells it (go1.16–1.27 src/runtime/preempt.go, isAsyncSafePoint).
    maps.assembly = !func.table->funcdata(func, FuncData::locals_pointer_maps);
    // The entry's map names the words where arguments in registers are spilled. The collector reads it in morestack
    // only, which comes after the spills (go1.17 src/cmd/compile/abi-internal.md): before, others left what is there.
    const bool spilled = maps.assembly || func.args == 0 || !runtime.version().at_least(17);
    maps.exact = frame.after_call || (frame.pc == func.entry && spilled);
    std::int32_t index = 0;
    if (frame.pc != func.entry) {
        Address at = frame.after_call ? frame.pc - 1 : frame.pc;
        // -1, or no table: not a mapped place; the runtime takes the entry's map then.
        index = std::max(func.table->pcdata(func, PcData::stack_map_index, at).value_or(0), 0);
    }
    bool has_locals = varp && *varp > frame.sp;
    if (auto at = func.table->funcdata(func, FuncData::locals_pointer_maps); at && has_locals) {
        maps.locals = TRY(read_map(memory, *at, index));
        maps.locals.base = *varp - std::uint64_t{maps.locals.words} * 8;
        if (maps.locals.base < frame.sp || maps.locals.base > *varp)
            return fail(ErrorKind::corrupt,
                        fmt::format("{} words of locals in a frame of {} bytes", maps.locals.words, *varp - frame.sp),
                        frame.sp);
    } else if (!has_locals) {
        maps.locals.known = true;
    }
    if (func.args == 0) {
        maps.args.known = true;
    } else if (auto at = func.table->funcdata(func, FuncData::args_pointer_maps);
               at && func.args != args_size_unknown) {
        maps.args = TRY(read_map(memory, *at, maps.assembly && !maps.exact ? last_map : index));
        // The map may cover results too; never more than the argument area.
        maps.args.words =
            std::min<std::uint32_t>(maps.args.words, static_cast<std::uint32_t>(std::max(func.args, 0)) / 8);
    }
    maps.args.base = frame.cfa;
    if (auto at = func.table->funcdata(func, FuncData::stack_objects))
        maps.objects = TRY(read_objects(memory, runtime, frame, func, *at));
    return maps;
}

}  // namespace incident::go
