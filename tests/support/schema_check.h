// Holds JSON against docs/incident-report-1.schema.json. The published schema lets objects gain members; our own output
// must have none that the schema does not name, so the check is made stricter than the file.
#pragma once

#include <string>

namespace incident::test {

/// Empty when `json` keeps to the schema; else where and how it does not.
std::string schema_complaint(const std::string& json);

/// The same against another schema file of the source tree, as it stands there: tests/support/schemas/…
std::string schema_complaint(const std::string& json, const std::string& schema_file);

}  // namespace incident::test
