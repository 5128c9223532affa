#pragma once

#include "agent/watchers/notebook.h"
#include "greengate/v1/report.pb.h"

#include <map>
#include <string>
#include <vector>

namespace greengate::test {

/// A notebook in memory, whose disk can be full.
class MemoryNotebook final : public agent::Notebook {
 public:
  std::string note(const std::string& name) override {
    const auto found = notes.find(name);
    return found == notes.end() ? std::string() : found->second;
  }
  bool keep(const std::vector<agent::Finding>& kept, const agent::Notes& remembered) override {
    if (disk_full) return false;
    ++writes;
    findings.insert(findings.end(), kept.begin(), kept.end());
    for (const auto& [name, value] : remembered) notes[name] = value;
    return true;
  }
  template <class Message>
  std::vector<Message> taken(v1::Kind kind) {
    std::vector<Message> messages;
    for (const agent::Finding& finding : findings) {
      if (finding.kind == kind) messages.emplace_back().ParseFromString(finding.body);
    }
    std::erase_if(findings, [&](const agent::Finding& finding) { return finding.kind == kind; });
    return messages;
  }

  std::vector<agent::Finding> findings;
  std::map<std::string, std::string> notes;
  bool disk_full = false;
  int writes = 0;
};

}  // namespace greengate::test
