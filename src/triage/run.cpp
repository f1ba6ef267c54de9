// The run: one loop, no threads. The parent reads a core's bytes once for its digest and never maps or parses one.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <set>

#include "base/text.h"
#include "report/verdict.h"
#include "triage/digest.h"
#include "triage/find_cores.h"
#include "triage/store.h"
#include "triage/triage.h"

namespace incident::triage {

namespace {

using Clock = std::chrono::steady_clock;

/// Of ten thousand cores with one signature, one excerpt is enough to keep in memory.
class Slim {
public:
    void operator()(Record& record) {
        if (!record.verdict) return;
        auto& kept = excerpts_[record.verdict->signature.id];
        constexpr unsigned most = 4;
        if (kept >= most)
            record.verdict->excerpt.clear(), record.verdict->signature.notes.clear();
        else if (!record.verdict->excerpt.empty())
            ++kept;
    }

private:
    std::map<std::string, unsigned> excerpts_;
};

class Run {
public:
    explicit Run(const TriageOptions& options) : options_(options), children_(options.limits) {}
    std::expected<TriageResult, std::string> go();

private:
    std::string prepare();
    void start_next();
    void begin(const CoreFileFound& core);
    std::string finish(std::size_t token, ChildEnd end);
    std::string keep(Record record, std::string_view verdict_json);
    void show(bool last = false);

    const TriageOptions& options_;
    Children children_;
    std::optional<Store> store_;
    std::vector<CoreFileFound> cores_;
    std::size_t next_ = 0, done_ = 0, analysed_ = 0;
    std::map<std::string, std::string> owner_;                ///< digest -> path that is or was analysed
    std::set<std::pair<std::string, std::string>> in_store_;  ///< digest, path
    std::map<std::size_t, Record> under_way_;
    std::deque<std::string> failures_;
    Slim slim_;
    Clock::time_point started_ = Clock::now();
    TriageResult result_;
};

std::string Run::prepare() {
    auto found = find_cores(options_.paths);
    if (!found) return found.error();
    cores_ = std::move(found->cores);
    result_.found = cores_.size();
    result_.complaints = std::move(found->complaints);
    if (options_.store.empty()) return {};
    auto store = Store::open(options_.store, options_.resume);
    if (!store) return store.error();
    store_.emplace(std::move(*store));
    if (!options_.resume) return {};
    // A later line about the same file replaces an earlier one (--retry).
    std::map<std::pair<std::string, std::string>, std::size_t> place;
    auto contents = read_store(options_.store, [&](Record&& record, std::string_view) {
        slim_(record);
        auto [at, fresh] = place.try_emplace({record.digest, record.path}, result_.records.size());
        if (fresh)
            result_.records.push_back(std::move(record));
        else
            result_.records[at->second] = std::move(record);
    });
    if (!contents) return contents.error();
    if (contents->broken != 0)
        result_.complaints.push_back(fmt::format("{}: {} lines were no records and were passed over ({})",
                                                 options_.store, contents->broken, contents->first_broken));
    if (options_.retry) std::erase_if(result_.records, [](const Record& r) { return !r.verdict && r.copy_of.empty(); });
    for (const auto& record : result_.records) {
        in_store_.emplace(record.digest, record.path);
        if (record.copy_of.empty()) owner_.emplace(record.digest, record.path);
    }
    return {};
}

std::string Run::keep(Record record, std::string_view verdict_json) {
    std::string failure;
    if (store_) failure = store_->append(record_line(record, verdict_json));
    in_store_.emplace(record.digest, record.path);
    slim_(record);
    result_.records.push_back(std::move(record));
    return failure;
}

/// Takes the core into work, or notes at once why there is nothing to do.
void Run::begin(const CoreFileFound& core) {
    Record record;
    record.path = core.path;
    record.size = core.size;
    record.name = parse_core_name(base_name(core.path));
    record.time = record.name.time != 0 ? record.name.time : core.modified;
    auto digest = digest_of(core.path);
    if (!digest) {
        // It has no key, but it must be accounted for: its path is one.
        record.digest = "unreadable:" + core.path;
        record.outcome = Outcome::failed;
        record.reason = describe(digest.error());
    } else {
        record.digest = *digest;
        auto slot = std::stoull(digest->substr(0, 15), nullptr, 16) % options_.shards;
        if (slot + 1 != options_.shard) {
            ++result_.other_shards;
            ++done_;
            return;
        }
    }
    if (in_store_.contains({record.digest, record.path})) {
        ++result_.known_before;
        ++done_;
        return;
    }
    auto [owner, fresh] = owner_.try_emplace(record.digest, record.path);
    if (!digest || (!fresh && owner->second != record.path)) {
        if (digest) {
            record.copy_of = owner->second;
            record.outcome = Outcome::analysed;
        }
        if (auto failure = keep(std::move(record), ""); !failure.empty()) failures_.push_back(failure);
        ++done_;
        return;
    }
    std::vector<std::string> arguments = options_.analyzer;
    arguments.push_back(core.path.starts_with('-') ? "./" + core.path : core.path);
    arguments.insert(arguments.end(), {"--format", "json", "--progress", "never"});
    arguments.insert(arguments.end(), options_.engine_options.begin(), options_.engine_options.end());
    auto token = next_ - 1;
    under_way_.emplace(token, std::move(record));
    children_.start(token, arguments);
}

std::string Run::finish(std::size_t token, ChildEnd end) {
    auto node = under_way_.extract(token);
    Record record = std::move(node.mapped());
    record.outcome = end.outcome;
    record.exit = end.exit;
    record.reason = std::move(end.reason);
    record.seconds = end.seconds;
    record.cpu_seconds = end.cpu_seconds;
    record.peak_bytes = end.peak_bytes;
    std::string_view json;
    if (end.outcome == Outcome::analysed) {
        auto verdict = parse_verdict(end.output);
        if (verdict) {
            record.verdict = std::move(*verdict);
            json = end.output;
        } else {
            record.outcome = Outcome::failed;
            record.reason = "its output cannot be read: " + verdict.error();
        }
    }
    ++done_;
    ++analysed_;
    return keep(std::move(record), json);
}

void Run::show(bool last) {
    if (!options_.progress) return;
    auto seconds = std::chrono::duration<double>(Clock::now() - started_).count();
    options_.progress(last ? cores_.size() : done_, cores_.size(), analysed_, seconds);
}

std::expected<TriageResult, std::string> Run::go() {
    if (auto failure = prepare(); !failure.empty()) return std::unexpected(failure);
    constexpr int tick = 100;  // milliseconds
    while (next_ < cores_.size() || children_.running() > 0) {
        while (next_ < cores_.size() && children_.running() < options_.jobs) {
            ++next_;
            begin(cores_[next_ - 1]);
            if (next_ % 64 == 0) show();
        }
        if (auto ended = children_.wait(tick))
            if (auto failure = finish(ended->first, std::move(ended->second)); !failure.empty())
                failures_.push_back(failure);
        // A store that cannot be written is worth nothing: stop at once rather than lose what comes.
        if (!failures_.empty()) return std::unexpected(failures_.front());
        show();
    }
    show(true);
    return std::move(result_);
}

}  // namespace

std::expected<TriageResult, std::string> run_triage(const TriageOptions& options) { return Run(options).go(); }

std::expected<TriageResult, std::string> merge_stores(const std::vector<std::string>& stores,
                                                      const std::function<std::string(std::string_view)>& each) {
    TriageResult result;
    Slim slim;
    std::map<std::pair<std::string, std::string>, std::size_t> place;
    std::map<std::string, std::string> owner;
    std::vector<std::string> lines;
    for (const auto& store : stores) {
        auto contents = read_store(store, [&](Record&& record, std::string_view line) {
            ++result.found;
            slim(record);
            auto [at, fresh] = place.try_emplace({record.digest, record.path}, result.records.size());
            if (fresh) {
                result.records.push_back(std::move(record));
                lines.emplace_back(each ? line : std::string_view());
            } else if (record.verdict || !result.records[at->second].verdict) {
                result.records[at->second] = std::move(record);
                if (each) lines[at->second] = line;
            }
        });
        if (!contents) return std::unexpected(contents.error());
        if (contents->broken != 0)
            result.complaints.push_back(fmt::format("{}: {} lines were no records and were passed over ({})", store,
                                                    contents->broken, contents->first_broken));
    }
    // The same core in two stores under two paths counts once.
    std::ranges::for_each(result.records, [&](const Record& r) {
        if (r.copy_of.empty() && r.verdict) owner.emplace(r.digest, r.path);
    });
    for (std::size_t i = 0; i < result.records.size(); ++i) {
        auto& record = result.records[i];
        auto at = owner.find(record.digest);
        if (record.copy_of.empty() && at != owner.end() && at->second != record.path) {
            record.copy_of = at->second;
            if (each) lines[i] = record_line(record, "");
        }
        if (!each) continue;
        auto line = lines[i];
        if (!line.ends_with('\n')) line += '\n';
        if (auto failure = each(line); !failure.empty()) return std::unexpected(failure);
    }
    return result;
}

int exit_code(const std::vector<Record>& records) {
    bool any = false, judged = false, doubt = false;
    for (const auto& record : records) {
        if (!record.copy_of.empty()) continue;
        any = true;
        if (record.verdict && record.exit == report::exit_findings) return report::exit_findings;
        judged = judged || record.verdict.has_value();
        doubt = doubt || !record.verdict || record.exit == report::exit_not_health;
    }
    if (any && !judged) return report::exit_unusable;
    return doubt ? report::exit_not_health : report::exit_nothing;
}

}  // namespace incident::triage
