#include "cli/serve.h"

#include <fmt/format.h>
#include <rapidjson/document.h>

#include <algorithm>
#include <optional>

#include "base/text.h"
#include "cli/answer.h"
#include "cli/output.h"
#include "report/explain.h"
#include "report/renderers.h"
#include "report/verdict.h"
#include "session.h"

namespace incident::cli {

namespace {

constexpr std::size_t longest_question = 1 << 20;  // bytes; more is a mistake, not a command line

struct Question {
    std::vector<std::string> arguments;
    unsigned columns = 0;
};

/// nullopt: not as the protocol says.
std::optional<Question> parse_question(const std::string& line) {
    rapidjson::Document document;
    document.Parse<rapidjson::kParseIterativeFlag>(line.data(), line.size());
    if (document.HasParseError() || !document.IsObject()) return std::nullopt;
    auto args = document.FindMember("args");
    if (args == document.MemberEnd() || !args->value.IsArray() || args->value.Empty()) return std::nullopt;
    Question question;
    for (const auto& word : args->value.GetArray()) {
        if (!word.IsString()) return std::nullopt;
        question.arguments.emplace_back(word.GetString(), word.GetStringLength());
    }
    if (auto columns = document.FindMember("columns"); columns != document.MemberEnd() && columns->value.IsUint())
        question.columns = columns->value.GetUint();
    return question;
}

class Server {
public:
    explicit Server(const Invocation& own) : own_(own), session_(common(own)) {}

    Reply ask(const std::string& line) {
        auto question = parse_question(line);
        if (!question) return refused("the question is not a line of the protocol: {\"args\": [\"crash\"]}");
        auto words = question->arguments;
        const auto* row = find_command(words[0]);
        if (row != nullptr && row->command) {  // CORE and EXE are ours
            words.insert(words.begin() + 1, own_.analyze.core_path);
            if (!own_.analyze.images.executable.empty()) words.push_back(own_.analyze.images.executable);
        }
        auto parsed = parse(words);
        if (parsed.exit) return {*parsed.exit, parsed.out, parsed.err};
        return answer(parsed.invocation, question->columns);
    }

private:
    AnalyzeOptions common(const Invocation& own) {
        auto options = own.analyze;
        options.log = [this](std::string_view line) { notes_ += escape_for_terminal(line) + "\n"; };
        return options;
    }

    static Reply refused(const std::string& why) {
        return {report::exit_unusable, {}, fmt::format("incident: {}\n", escape_for_terminal(why))};
    }

    Reply answer(Invocation& asked, unsigned columns) {
        if (!asked.output.empty() || !asked.json_output.empty())
            return refused("serve: an answer goes to the asker, not to a file");
        if (auto no = overwrites(asked); !no.empty()) return refused(no);
        auto options = asked.render;
        options.color = asked.color == "always";
        options.unicode = locale_is_utf8();
        if (columns != 0) {
            options.width = std::clamp(columns, 40u, 200u);
        } else if (auto output = Output::open("")) {
            options.width = output->width();
        }
        Reply reply;
        auto sink = [&](std::string_view piece) { return reply.out += piece, true; };
        if (asked.row->name == "explain") {
            if (!report::explain(asked.kind, options, sink))
                return refused(fmt::format("there is no finding kind '{}'; 'incident explain' lists them", asked.kind));
            return reply;
        }
        if (!asked.row->command || asked.row->name == "serve")
            return refused(fmt::format("serve: '{}' is no question to one core", asked.row->name));
        const auto runbook = load_runbook(asked);
        if (!runbook) return refused(runbook.error());
        notes_.clear();
        auto report = session_.ask(asked.analyze);
        if (!report) return refused(fmt::format("{}: {}", own_.analyze.core_path, describe(report.error())));
        const Answer answer(asked, *report, *runbook);
        answer.draw(asked.format, options, sink);
        reply.err = notes_;
        reply.code = answer.exit_code();
        return reply;
    }

    const Invocation& own_;
    std::string notes_;
    Session session_;
};

}  // namespace

int serve(const Invocation& invocation, std::istream& in, std::ostream& out) {
    Server server(invocation);
    std::string line;
    while (std::getline(in, line)) {
        auto answer = line.size() > longest_question
                          ? Reply{report::exit_unusable, {}, "incident: the question is too long\n"}
                          : server.ask(line);
        out << fmt::format("{{\"code\": {}, \"out\": {}, \"err\": {}}}\n", answer.code, answer.out.size(),
                           answer.err.size())
            << answer.out << answer.err << std::flush;
        if (!out) return report::exit_unusable;  // the asker is gone
    }
    return report::exit_nothing;
}

}  // namespace incident::cli
