#include "support/schema_check.h"

#include <rapidjson/document.h>
#include <rapidjson/error/en.h>
#include <rapidjson/schema.h>
#include <rapidjson/stringbuffer.h>

#include <fstream>
#include <sstream>
#include <string_view>

namespace incident::test {

namespace {

void tighten(rapidjson::Value& schema, rapidjson::Document& document) {
    if (schema.IsArray())
        for (auto& element : schema.GetArray()) tighten(element, document);
    if (!schema.IsObject()) return;
    for (auto& member : schema.GetObject()) tighten(member.value, document);
    auto properties = schema.FindMember("properties");
    if (properties == schema.MemberEnd() || !properties->value.IsObject() || schema.HasMember("additionalProperties"))
        return;
    schema.AddMember("additionalProperties", false, document.GetAllocator());
}

/// The siblings of strings that are not UTF-8 may stand anywhere.
void drop_hex_siblings(rapidjson::Value& value) {
    if (value.IsArray())
        for (auto& element : value.GetArray()) drop_hex_siblings(element);
    if (!value.IsObject()) return;
    for (auto member = value.MemberBegin(); member != value.MemberEnd();) {
        if (std::string_view(member->name.GetString(), member->name.GetStringLength()).ends_with("_hex")) {
            member = value.EraseMember(member);
        } else {
            drop_hex_siblings(member->value);
            ++member;
        }
    }
}

rapidjson::Document load_schema(const std::string& path, bool tight) {
    std::ifstream file(INCIDENT_SOURCE_DIR "/" + path);
    std::stringstream text;
    text << file.rdbuf();
    rapidjson::Document document;
    document.Parse(text.str().c_str());
    if (!document.HasParseError() && tight) tighten(document, document);
    return document;
}

std::string complaint(const std::string& json, const rapidjson::SchemaDocument& compiled, bool ours) {
    rapidjson::Document document;
    document.Parse(json.c_str(), json.size());
    if (document.HasParseError())
        return std::string(rapidjson::GetParseError_En(document.GetParseError())) + " at " +
               std::to_string(document.GetErrorOffset());
    if (ours) drop_hex_siblings(document);
    rapidjson::SchemaValidator validator(compiled);
    if (document.Accept(validator)) return {};
    rapidjson::StringBuffer where, which;
    validator.GetInvalidDocumentPointer().StringifyUriFragment(where);
    validator.GetInvalidSchemaPointer().StringifyUriFragment(which);
    return std::string(where.GetString()) + " breaks '" + validator.GetInvalidSchemaKeyword() + "' of " +
           which.GetString();
}

}  // namespace

std::string schema_complaint(const std::string& json) {
    static const auto schema_text = load_schema("docs/incident-report-1.schema.json", true);
    if (!schema_text.IsObject()) return "the schema file is not there, or no JSON";
    static const rapidjson::SchemaDocument compiled(schema_text);
    return complaint(json, compiled, true);
}

std::string schema_complaint(const std::string& json, const std::string& schema_file) {
    const auto schema_text = load_schema(schema_file, false);
    if (!schema_text.IsObject()) return schema_file + " is not there, or no JSON";
    const rapidjson::SchemaDocument compiled(schema_text);
    return complaint(json, compiled, false);
}

}  // namespace incident::test
