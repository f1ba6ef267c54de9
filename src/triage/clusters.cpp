// Near means: same kind, and
//   stacks   an alignment of the frames that keeps their order, in which the innermost frames weigh most (1, 1/2, 1/3
//   …); places   the share of the places that both have.
// A frame without a symbol equals one at the same offset of the same build; of another build only when at least two
// such frames stand one above the other at the same distances, which is how the stripped build of a program looks.
//   shapes   what is damaged looks the same, in the same program, and one of the two has no name for it.
// Two findings whose marks name different faults are two problems, however alike their places.
#include "triage/clusters.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <ranges>
#include <set>
#include <tuple>

#include "triage/normalize.h"

namespace incident::triage {

namespace {

bool same_frame(const SignatureFrame& a, const SignatureFrame& b) { return a.text == b.text; }

bool contains(const std::vector<std::uint64_t>& offsets, std::uint64_t offset) {
    return std::ranges::find(offsets, offset) != offsets.end();
}

/// One of the two has no symbol there, and both stand at the same offset in some build.
bool same_offset(const SignatureFrame& a, const SignatureFrame& b) {
    if ((a.named && b.named) || a.offset == 0 || b.offset == 0) return false;
    const bool here =
        a.offset == b.offset || contains(a.other_offsets, b.offset) || contains(b.other_offsets, a.offset);
    return here && normal_program(a.module) == normal_program(b.module);  // names last: millions of pairs come here
}

std::size_t equal_offsets(const Signature& a, const Signature& b) {
    std::size_t count = 0;
    for (const auto& fa : a.frames)
        count += std::ranges::any_of(b.frames, [&](const auto& fb) { return same_offset(fa, fb); }) ? 1 : 0;
    return count;
}

/// Innermost frames weigh most; a library call and the foot that every program has weigh little.
double weight(const SignatureFrame& frame, std::size_t position) {
    bool light =
        frame.text == "main" || frame.text == "main.main" || built_in_rules().find_frame(frame.text) != nullptr;
    return (light ? 0.2 : 1.0) / static_cast<double>(position + 1);
}

double weight(const Signature& s) {
    double total = 0;
    for (std::size_t i = 0; i < s.frames.size(); ++i) total += weight(s.frames[i], i);
    return total;
}

/// Weighted longest common subsequence over the mean weight of both stacks.
double alignment(const Signature& a, const Signature& b, bool by_offset) {
    const auto n = a.frames.size(), m = b.frames.size();
    std::vector<std::vector<double>> best(n + 1, std::vector<double>(m + 1, 0));
    for (std::size_t i = n; i-- > 0;) {
        for (std::size_t j = m; j-- > 0;) {
            best[i][j] = std::max(best[i + 1][j], best[i][j + 1]);
            bool same = same_frame(a.frames[i], b.frames[j]) || (by_offset && same_offset(a.frames[i], b.frames[j]));
            if (same) best[i][j] = std::max(best[i][j], best[i + 1][j + 1] + weight(a.frames[i], std::max(i, j)));
        }
    }
    double total = std::max(weight(a), weight(b));
    return total == 0 ? 0 : best[0][0] / total;
}

/// "main.a instead of main.b", the first difference.
std::string difference(const Signature& a, const Signature& b) {
    for (const auto& fb : b.frames) {
        if (std::ranges::any_of(a.frames, [&](const auto& fa) { return same_frame(fa, fb); })) continue;
        for (const auto& fa : a.frames)
            if (std::ranges::none_of(b.frames, [&](const auto& f) { return same_frame(f, fa); }))
                return fmt::format("{} instead of {}", fb.text, fa.text);
        return fmt::format("{} besides", fb.text);
    }
    return a.frames.size() > b.frames.size() ? "it has fewer frames" : "their order differs";
}

Likeness like_stacks(const Signature& a, const Signature& b) {
    auto offsets = equal_offsets(a, b);
    bool by_offset = offsets >= 2 || (offsets == 1 && a.frames.size() == 1 && b.frames.size() == 1 &&
                                      a.frames[0].module == b.frames[0].module);
    std::size_t equal = 0;
    for (const auto& fa : a.frames)
        equal += std::ranges::any_of(
                     b.frames, [&](const auto& fb) { return same_frame(fa, fb) || (by_offset && same_offset(fa, fb)); })
                     ? 1
                     : 0;
    if (equal == 0) return {};  // most pairs end here
    Likeness out{alignment(a, b, by_offset), ""};
    const auto most = std::max(a.frames.size(), b.frames.size());
    if (by_offset && equal == most)
        out.reason = "another build, without symbols: every frame is at the offset that it has there";
    else if (equal == most && most > 0)
        out.reason = "same frames";
    else
        out.reason = fmt::format("{} of {} frames are the same; {}", equal, most, difference(a, b));
    if (a.message != b.message) {
        // One place can fail with two texts; two places seldom fail with the same stack.
        if (out.value < 0.95) out.value *= 0.7;
        out.reason += fmt::format("; the message is \"{}\"", b.message);
    }
    return out;
}

Likeness like_places(const Signature& a, const Signature& b) {
    std::size_t named = 0, offsets = 0;
    for (const auto& fa : a.frames) {
        if (std::ranges::any_of(b.frames, [&](const auto& fb) { return same_frame(fa, fb); }))
            ++named;
        else if (std::ranges::any_of(b.frames, [&](const auto& fb) { return same_offset(fa, fb); }))
            ++offsets;
    }
    if (named == 0 && offsets == 0) return {};
    const auto most = std::max(a.frames.size(), b.frames.size());
    // Offsets of two builds are equal by chance now and then: they count when no place is left over.
    if (offsets > 0 && named + offsets == most)
        return {1, "another build, without symbols: every place is at the offset that it has there"};
    const auto all = a.frames.size() + b.frames.size() - named;
    Likeness out{all == 0 ? 0 : static_cast<double>(named) / static_cast<double>(all),
                 fmt::format("{} of {} places are the same; {}", named, all, difference(a, b))};
    if (a.message != b.message) out.value *= 0.7;
    return out;
}

/// Nothing that the program's authors named: offsets, shapes, and calls into libc.
bool nameless(const Signature& s) {
    return std::ranges::all_of(s.frames, [](const SignatureFrame& f) {
        return !f.named || f.text.starts_with("program ") || built_in_rules().find_frame(f.text) != nullptr;
    });
}

Likeness like_shapes(const Signature& a, const Signature& b) {
    if (a.shape.empty() || a.shape != b.shape || a.program.empty() || a.program != b.program) return {};
    if (!nameless(a) && !nameless(b)) return {};
    return {0.8, fmt::format("the same damage in the same program ({}), in a build that has no name for it", a.shape)};
}

struct Group {
    Variant variant;
    std::string program;
    std::int64_t last_seen = 0;
};

bool is_quiet(const Verdict& v) { return v.signature.klass == "requested"; }

/// The record whose report shows most: an excerpt, nothing lost, and the newest of those.
std::size_t example_of(const std::vector<Record>& records, const std::vector<std::size_t>& of) {
    auto worth = [&](std::size_t i) {
        const auto& v = *records[i].verdict;
        return std::tuple(!v.excerpt.empty(), v.gaps.empty(), !v.stripped, records[i].time);
    };
    return *std::ranges::max_element(of, {}, worth);
}

/// One signature, many builds: where each of them has the frame.
void add_offsets(Signature& into, const Signature& from) {
    constexpr std::size_t most = 32;
    for (std::size_t i = 0; i < std::min(into.frames.size(), from.frames.size()); ++i) {
        auto& frame = into.frames[i];
        const auto offset = from.frames[i].offset;
        if (normal_program(frame.module) != normal_program(from.frames[i].module)) continue;
        if (offset != frame.offset && frame.other_offsets.size() < most && !contains(frame.other_offsets, offset))
            frame.other_offsets.push_back(offset);
    }
}

/// To what the cluster is called after; without symbols also to the cluster's other builds, of which one may have the
/// same code.
Likeness likeness_to(const Cluster& cluster, const Signature& signature) {
    auto most = likeness(cluster.variants.front().signature, signature);
    const bool without_names = nameless(signature);
    for (const auto& variant : cluster.variants | std::views::drop(1))
        if (most.value < near_enough && (without_names || nameless(variant.signature)))
            if (auto here = likeness(variant.signature, signature); here.value > most.value) most = std::move(here);
    return most;
}

}  // namespace

Likeness likeness(const Signature& a, const Signature& b) {
    if (a.klass != b.klass || a.kind != b.kind) return {};
    if (a.id == b.id) return {1, "same signature"};
    if (a.frames.empty() || b.frames.empty()) return {};
    if (a.klass == "memory" && a.message != b.message) return {};
    auto by_frames = a.ordered && b.ordered ? like_stacks(a, b) : like_places(a, b);
    if (by_frames.value >= near_enough) return by_frames;
    auto by_shape = like_shapes(a, b);
    return by_shape.value > by_frames.value ? by_shape : by_frames;
}

Clustering cluster(const std::vector<Record>& records, const ClusterOptions& options) {
    Clustering out;
    std::map<std::string, Group> groups;
    for (std::size_t i = 0; i < records.size(); ++i) {
        const auto& record = records[i];
        if (!record.copy_of.empty()) continue;
        if (!record.verdict || record.verdict->signature.id.empty()) {
            out.unsigned_.push_back(i);
            continue;
        }
        const auto& verdict = *record.verdict;
        if (is_quiet(verdict)) {
            out.quiet.push_back(i);
            continue;
        }
        auto program = options.by_program ? verdict.program : std::string();
        auto& group = groups[program + "\n" + verdict.signature.id];
        if (group.variant.records.empty()) group.variant.signature = verdict.signature;
        add_offsets(group.variant.signature, verdict.signature);
        group.variant.records.push_back(i);
        group.program = program;
        group.last_seen = std::max(group.last_seen, record.time);
    }

    std::vector<Group> order;
    order.reserve(groups.size());
    for (auto& [key, group] : groups) order.push_back(std::move(group));
    std::ranges::stable_sort(order, [](const Group& a, const Group& b) {
        return a.variant.records.size() != b.variant.records.size()
                   ? a.variant.records.size() > b.variant.records.size()
                   : std::tie(b.last_seen, a.variant.signature.id) < std::tie(a.last_seen, b.variant.signature.id);
    });
    std::vector<std::string> programs;
    for (auto& group : order) {
        std::size_t best = out.clusters.size();
        Likeness most;
        for (std::size_t c = 0; options.near && c < out.clusters.size(); ++c) {
            if (programs[c] != group.program) continue;
            auto here = likeness_to(out.clusters[c], group.variant.signature);
            if (here.value >= near_enough && here.value > most.value) {
                most = std::move(here);
                best = c;
            }
        }
        if (best == out.clusters.size()) {
            out.clusters.emplace_back();
            programs.push_back(group.program);
        } else {
            group.variant.reason = most.reason;
        }
        out.clusters[best].variants.push_back(std::move(group.variant));
    }

    auto newer = [&](std::size_t a, std::size_t b) {
        return std::tie(records[b].time, records[a].path) < std::tie(records[a].time, records[b].path);
    };
    std::set<std::string_view> known(options.baseline.begin(), options.baseline.end());
    for (auto& c : out.clusters) {
        for (auto& variant : c.variants) {
            std::ranges::sort(variant.records, newer);
            c.records.insert(c.records.end(), variant.records.begin(), variant.records.end());
        }
        std::ranges::sort(c.records, newer);
        for (auto i : c.records) {
            if (records[i].time == 0) continue;
            if (c.first_seen == 0 || records[i].time < c.first_seen) c.first_seen = records[i].time;
            c.last_seen = std::max(c.last_seen, records[i].time);
        }
        c.example = example_of(records, c.variants.front().records);
        c.is_new = options.has_baseline &&
                   std::ranges::none_of(c.variants, [&](const auto& v) { return known.contains(v.signature.id); });
    }
    std::ranges::stable_sort(out.clusters, [](const Cluster& a, const Cluster& b) {
        return a.records.size() != b.records.size() ? a.records.size() > b.records.size() : a.last_seen > b.last_seen;
    });
    return out;
}

}  // namespace incident::triage
