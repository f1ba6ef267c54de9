// Any bytes as a store of triage, and behind the first "[[entry]]" as a runbook: stores come from other machines, and
// hold what cores say. Merge it, cluster it against itself as the baseline, render the summary. The JSON must be JSON,
// the text must hold no control character, and a merged store must read back whole.
//
// fuzzer options: -max_len=20000 -timeout=20
#include <rapidjson/document.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "fuzz/seeds.h"
#include "support/sample_report.h"
#include "triage/runbook.h"
#include "triage/store.h"
#include "triage/summary.h"
#include "triage/triage.h"

using namespace incident;
using namespace incident::triage;

namespace {

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "broken promise: %s\n", what);
    std::abort();
}

class MemoryFile {
public:
    explicit MemoryFile(std::string_view bytes) : fd_(::memfd_create("store", MFD_CLOEXEC)) {
        for (off_t at = 0; !bytes.empty();) {
            const auto put = ::pwrite(fd_, bytes.data(), bytes.size(), at);
            require(put > 0, "a memory file can be written");
            at += put;
            bytes.remove_prefix(static_cast<std::size_t>(put));
        }
    }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;
    ~MemoryFile() { ::close(fd_); }
    std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

private:
    int fd_;
};

bool is_control(unsigned char c) { return (c < 0x20 && c != '\n') || c == 0x7f; }

template <class Render>
std::string rendered(const Render& render, const Summary& summary) {
    std::string out;
    render(summary, [&](std::string_view piece) { return out += piece, true; });
    return out;
}

void render_all(const Summary& summary) {
    const auto terminal = rendered([](const auto& s, const auto& to) { render_summary_terminal(s, {}, to); }, summary);
    require(std::ranges::none_of(terminal, is_control), "the terminal gets no control character");
    const auto markdown = rendered([](const auto& s, const auto& to) { render_summary_markdown(s, {}, to); }, summary);
    require(std::ranges::none_of(markdown, is_control), "markdown holds no control character");
    rapidjson::Document document;
    const auto json = rendered(render_summary_json, summary);
    document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(json.data(), json.size());
    require(!document.HasParseError(), "the JSON is JSON");
}

std::string line_of(const report::Report& report, const std::string& path) {
    std::string verdict;
    render_verdict(report, sign(report), report::Severity::warning,
                   [&](std::string_view piece) { return verdict += piece, true; });
    Record record;
    record.digest = "d" + path;
    record.path = path;
    record.time = 1'753'660'800;
    record.outcome = Outcome::analysed;
    record.exit = 1;
    record.cpu_seconds = 0.5;
    return record_line(record, verdict);
}

}  // namespace

void incident::for_each_seed(const std::function<void(std::string_view, std::span<const std::byte>)>& use) {
    const auto crash = line_of(test::sample_crash(), "/c"), hang = line_of(test::sample_hang(), "/h"),
               hostile = line_of(test::sample_hostile(), "/x"), healthy = line_of(test::sample_healthy(), "/q");
    Record lost;
    lost.digest = "dl";
    lost.path = "/l";
    lost.outcome = Outcome::died;
    lost.reason = "ended by signal 11";
    const std::string book =
        "[[entry]]\nkind = \"crash.*\"\ntitle = \"call\"\nsteps = [\"a\", \"b\"]\nlinks = [\"l\"]\n";
    const auto bytes = [&](std::string_view name, const std::string& text) {
        use(name, std::as_bytes(std::span(text)));
    };
    bytes("crash", crash + book);
    bytes("hang and hostile", hang + hostile);
    bytes("quiet and lost", healthy + record_line(lost, ""));
    auto stranger = crash;
    const std::string_view excerpt = "\"excerpt\":\"";
    stranger.insert(stranger.find(excerpt) + excerpt.size(), "\\u001b[31m\\n");
    bytes("stranger", stranger);
    bytes("all", crash + hang + hostile + healthy + crash.substr(0, 200) + "\n" + book);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view all(reinterpret_cast<const char*>(data), size);
    const auto split = std::min(all.find("[[entry]]"), size);
    const auto book = Runbook::parse(all.substr(split), "runbook");
    const MemoryFile store(all.substr(0, split));

    std::string merged;
    ClusterOptions options{.has_baseline = true};
    const auto result = merge_stores({store.path(), store.path()}, [&](std::string_view line) {
        merged += line;
        return std::string();
    });
    require(result.has_value(), "a file that can be read can be merged");
    for (const Record& record : result->records)
        if (record.verdict && options.baseline.empty()) options.baseline.push_back(record.verdict->signature.id);
    for (bool near : {true, false}) {
        options.near = near;
        options.by_program = !near;
        const Clustering clustering = cluster(result->records, options);
        render_all({*result, clustering, book ? &*book : nullptr, 1, "0"});
    }
    (void)exit_code(result->records);

    const MemoryFile again(merged);
    std::size_t records = 0;
    const auto contents = read_store(again.path(), [&](Record&&, std::string_view) { ++records; });
    require(contents && contents->broken == 0 && records == result->records.size(), "a merged store reads back whole");
    return 0;
}
