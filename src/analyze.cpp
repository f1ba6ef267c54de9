#include "analyze.h"

namespace incident {

Result<report::Report> analyze(const AnalyzeOptions&) { return fail(ErrorKind::unsupported, "the engine is not built yet"); }

}  // namespace incident
