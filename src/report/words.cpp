// The schema's words for the enumerations, in one place.
#include "report/report.h"

namespace incident::report {

std::string_view to_string(FrameKind kind) {
    switch (kind) {
        case FrameKind::go: return "go";
        case FrameKind::native: return "native";
        case FrameKind::signal: return "signal";
    }
    return "unknown";
}

std::string_view to_string(Trust trust) {
    switch (trust) {
        case Trust::context: return "context";
        case Trust::pclntab: return "pclntab";
        case Trust::cfi: return "cfi";
        case Trust::frame_pointer: return "frame_pointer";
        case Trust::scan: return "scan";
    }
    return "unknown";
}

std::string_view to_string(ModuleStatus status) {
    switch (status) {
        case ModuleStatus::verified: return "verified";
        case ModuleStatus::unverified: return "unverified";
        case ModuleStatus::missing: return "missing";
        case ModuleStatus::mismatched: return "mismatched";
    }
    return "unknown";
}

std::string_view to_string(CrashKind kind) {
    switch (kind) {
        case CrashKind::signal: return "signal";
        case CrashKind::go_panic: return "go-panic";
        case CrashKind::go_fatal: return "go-fatal";
        case CrashKind::abort: return "abort";
        case CrashKind::requested: return "requested";
    }
    return "unknown";
}

std::string_view to_string(Strength strength) {
    switch (strength) {
        case Strength::possible: return "possible";
        case Strength::likely: return "likely";
        case Strength::proved: return "proved";
    }
    return "unknown";
}

std::string_view to_string(Alternatives alternatives) {
    switch (alternatives) {
        case Alternatives::none: return "none";
        case Alternatives::known: return "known";
        case Alternatives::unknown: return "unknown";
    }
    return "unknown";
}

std::string_view to_string(Severity severity) {
    switch (severity) {
        case Severity::info: return "info";
        case Severity::warning: return "warning";
        case Severity::error: return "error";
    }
    return "unknown";
}

std::string_view to_string(Outcome outcome) {
    switch (outcome) {
        case Outcome::clean: return "clean";
        case Outcome::found: return "found";
        case Outcome::partial: return "partial";
        case Outcome::skipped: return "skipped";
        case Outcome::not_applicable: return "not-applicable";
    }
    return "unknown";
}

}  // namespace incident::report
