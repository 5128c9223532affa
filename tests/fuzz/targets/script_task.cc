// The TaskParam of a script task, as it is carried and as what it is the base64 of.
#include "adapters/bgb/script_task.h"
#include "tests/fuzz/targets/check.h"

#include <openssl/evp.h>

#include <cstdint>
#include <string>
#include <string_view>

using namespace greengate::adapters::bgb;
using greengate::fuzz::must;
using greengate::fuzz::text_of;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto check = (data[0] & 1) != 0 ? ParametersHash::loose : ParametersHash::strict;
  std::string_view given = text_of(data + 1, size - 1);
  std::string encoded;
  if ((data[0] & 2) == 0) {
    encoded.resize((given.size() + 2) / 3 * 4 + 1);
    encoded.resize(static_cast<std::size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()), data + 1, static_cast<int>(given.size()))));
    given = encoded;
  }
  const auto task = parse_script_task(given, check);
  if (!task) {
    must(std::string_view(task.error().code).starts_with("bgb.script_"), "a refusal has a code of its own");
    return 0;
  }
  must(is_guid(task->guid), "a script has a GUID");
  must(task->hash.size() == 64 && task->hash.find_first_not_of("0123456789abcdef") == std::string::npos, "its hash is lower-case hex");
  must(task->parameters.size() <= ScriptTaskLimits::parameters_max, "parameters are bounded");
  must(check == ParametersHash::loose || task->parameters_hash_right, "a strict check refuses a wrong hash");
  for (const ScriptTask::Parameter& parameter : task->parameters) {
    must(!parameter.name.empty() && parameter.name.size() <= ScriptTaskLimits::name_bytes_max, "each parameter has a name");
    must(parameter.value.size() <= ScriptTaskLimits::value_bytes_max && parameter.value.find('\0') == std::string::npos, "values are bounded, without NUL");
  }
  return 0;
}
