// What wait_graph.cpp collects on its way. Private to process/.
#pragma once

#include <map>
#include <unordered_map>
#include <unordered_set>

#include "go/stacks/defers.h"
#include "process/process.h"
#include "process/wait_graph.h"

namespace incident {

struct LockFinder {
    explicit LockFinder(const Process& p);

    struct Hold {
        std::uint32_t goroutine = 0;
        go::HoldKind kind = go::HoldKind::exclusive;
        HoldBasis basis = HoldBasis::frame;
        std::optional<std::uint32_t> physical;
        std::string_view function, deferred;
        Address site, address;
        bool surely = false, rwmutex = false;
        std::string_view in = {}, deferred_in = {};
    };
    struct Unknown {  ///< a release of a lock whose address is not known yet
        std::uint32_t goroutine = 0;
        go::HoldKind kind = go::HoldKind::exclusive;
        std::string_view function;
        bool standard = false;
    };

    const Process& process;
    go::RemainingCode code;
    go::CalleeResolver callees;
    LockPicture picture;
    std::unordered_map<Address, std::size_t> index;
    std::vector<std::vector<go::WaitsFor>> waits;  ///< by goroutine
    std::vector<Hold> holds;
    std::vector<Unknown> unknown;
    std::map<Address, std::vector<std::uint32_t>> deferred_before;  ///< who will release what he waits for, by lock
    std::vector<std::pair<std::string, go::HoldKind>> unknown_callbacks;
    std::unordered_set<std::uint32_t> unresolved, unborn_goroutines;
    std::unordered_map<std::uint32_t, std::vector<go::Balance>> final_balances;
    std::map<std::pair<Address, go::HoldKind>, std::vector<std::uint32_t>>
        served;  ///< channels, by who will receive or send
    std::unordered_set<Address> served_by_callbacks;

    GoLock& lock_at(Address address, go::WaitObject type);
    void read_waiters();
    void follow(std::uint32_t goroutine);
    std::optional<Registers> registers_of(const go::Goroutine& g) const;  ///< of its thread, under any handler
    /// Of the frame that the thread runs: rdx, which in a closure's first instructions is the closure.
    std::optional<Address> running_closure(const go::Goroutine& g, const go::PhysicalFrame& frame) const;
    void note_release_under_way(std::uint32_t goroutine, const go::GoStack& stack);  ///< wait_graph_release.cpp
    void note(std::uint32_t goroutine, const go::Remaining& remaining, HoldBasis basis,
              std::optional<std::uint32_t> physical, std::string_view deferred, std::vector<go::Balance>& before);
    static bool held(const GoLock& lock, go::HoldKind kind);
    void assign_holders();
    std::optional<std::uint32_t> stuck_finalizer_goroutine() const;
    void read_callbacks();
    void find_references();
    void find_function_values();  ///< wait_graph_values.cpp
    void follow_function_value(Address value);
    void adopt(LockPicture& from);
    void add_possible();
    void connect();  ///< wait_graph_cycles.cpp
    void find_cycles();
    void sort();
};

}  // namespace incident
