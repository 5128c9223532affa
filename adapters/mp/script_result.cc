#include "adapters/mp/script_result.h"

#include "adapters/mp/xml_writer.h"
#include "greengate/v1/report.pb.h"

#include <openssl/evp.h>

#include <set>

namespace greengate::adapters {
namespace {

constexpr int columns_max = 32;
constexpr std::size_t xml_bytes_max = 128 * 1024;

tl::unexpected<Error> refuse(std::string message) { return fail(Remedy::reject, "mp.script_result", std::move(message)); }

std::string base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

}  // namespace

Result<std::string> script_result_details(const v1::ScriptResult& result) {
  std::set<std::string> names;
  for (const std::string& column : result.columns()) {
    if (!is_wmi_name(column) || !names.insert(column).second || result.columns_size() > columns_max)
      return refuse("A script's result takes 32 columns with names of letters, digits and _ that differ.");
  }
  XmlWriter to(4'096, xml_bytes_max);
  to.markup("<?xml version=\"1.0\" encoding=\"utf-16\"?><result ResultCode=\"");
  to.number(result.result_code());
  to.markup("\">");
  for (const v1::ScriptRow& row : result.rows()) {
    if (row.values_size() > result.columns_size()) return refuse("A row of a script's result has more values than there are columns.");
    to.markup("<e");
    for (int i = 0; i < row.values_size(); ++i) {
      to.markup(" ");
      to.markup(result.columns(i));
      to.markup("=\"");
      to.attribute(row.values(i));
      to.markup("\"");
    }
    to.markup(" />");
    if (to.size() > xml_bytes_max) return refuse("A script's result is larger than " + std::to_string(xml_bytes_max) + " bytes.");
  }
  to.markup("</result>");
  return "\"" + base64(to.view()) + "\"";
}

}  // namespace greengate::adapters
