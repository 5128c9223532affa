#pragma once

#include "adapters/mdm/syncml.h"

#include <string>
#include <string_view>

namespace greengate::adapters {

/// Places in a Windows device's management tree, and the commands that touch them.
/// Source    wns-mdm-push 10.1, 14; docs/reference/mdm.md
namespace dm_node {
inline constexpr const char* defender_scan = "./Vendor/MSFT/Defender/Scan";
inline constexpr const char* defender_update = "./Vendor/MSFT/Defender/UpdateSignature";
inline constexpr const char* quick_scan_time = "./Vendor/MSFT/Defender/Health/QuickScanTime";
inline constexpr const char* full_scan_time = "./Vendor/MSFT/Defender/Health/FullScanTime";
inline constexpr const char* reboot_now = "./Device/Vendor/MSFT/Reboot/RebootNow";
inline constexpr const char* wipe = "./Device/Vendor/MSFT/RemoteWipe/doWipe";
inline constexpr const char* software_version = "./DevDetail/SwV";
inline constexpr const char* manufacturer = "./DevInfo/Man";
inline constexpr const char* model = "./DevInfo/Mod";
}  // namespace dm_node

/// The nodes of one provider's push registration. `provider` as it was enrolled; what a LocURI cannot hold is encoded.
struct PushNodes {
  explicit PushNodes(std::string_view provider);
  std::string push, pfn, channel_uri, status;
};

DmCommand get_node(const std::string& uri);
DmCommand exec_node(const std::string& uri);
DmCommand exec_node(const std::string& uri, const std::string& text);
DmCommand delete_node(const std::string& uri);
/// Replace or Add.
DmCommand set_node(DmVerb verb, const std::string& uri, const std::string& text);

}  // namespace greengate::adapters
