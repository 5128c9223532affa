#include "agent/collectors/classes.h"
#include "agent/collectors/limits.h"
#include "agent/collectors/table.h"
#include "agent/collectors/text.h"

#include <algorithm>
#include <array>
#include <set>

namespace greengate::agent {
namespace {

constexpr std::uint64_t sysfs_sector_bytes = 512;  // whatever the device's own sectors are
constexpr std::uint64_t sectors_max = 1ull << 54;  // beyond it a size in bytes would not fit

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> starts) {
  return std::any_of(starts.begin(), starts.end(),
                     [&](std::string_view start) { return text.starts_with(start); });
}

// What is a disk, and not a view of one (dm-, md), a reader (sr, fd) or memory (loop, ram, zram)
// that nothing stands on.
bool is_drive(const Machine& machine, const std::string& name,
              const std::string& root_device_number) {
  if (starts_with_any(name, {"dm-", "md", "sr", "fd", "nbd"})) return false;
  if (!starts_with_any(name, {"loop", "ram", "zram"})) return true;
  return machine.value("/sys/block/" + name + "/dev") == root_device_number;
}

std::string interface_type(std::string_view name, std::string_view device_path) {
  if (device_path.find("/usb") != std::string_view::npos) return "USB";
  if (device_path.find("/ata") != std::string_view::npos) return "IDE";  // Windows' word for ATA
  if (name.starts_with("nvme")) return "NVMe";
  if (device_path.find("/virtio") != std::string_view::npos) return "VirtIO";
  if (name.starts_with("mmcblk")) return "MMC";
  if (name.starts_with("xvd")) return "Xen";
  if (name.starts_with("sd") || device_path.find("/host") != std::string_view::npos) return "SCSI";
  return {};
}

struct Disk {
  std::string name;  // "sda"
  std::vector<std::string> partitions;
};

// Partition types by GPT name or MBR number. "GPT: System" is Windows' own word, the others follow
// its form.
std::string partition_type(std::string_view scheme, std::string_view type) {
  struct Known {
    std::string_view id, name;
  };
  constexpr Known gpt[] = {{"c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "GPT: System"},
                           {"0fc63daf-8483-4772-8e79-3d69d8477de4", "GPT: Linux File System"},
                           {"4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "GPT: Linux Root"},
                           {"0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "GPT: Linux Swap"},
                           {"e6d6d379-f507-44c2-a23c-238f2a3df928", "GPT: Linux LVM"},
                           {"a19d880f-05fc-4d3b-a006-743f0f84911e", "GPT: Linux RAID"},
                           {"bc13c2ff-59e6-4262-a352-b275fd6f7172", "GPT: Linux Extended Boot"},
                           {"21686148-6449-6e6f-744e-656564454649", "GPT: BIOS Boot"},
                           {"ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "GPT: Basic Data"}};
  constexpr Known mbr[] = {
      {"0x83", "Linux"},      {"0x82", "Linux Swap"}, {"0x8e", "Linux LVM"},
      {"0xfd", "Linux RAID"}, {"0x5", "Extended"},    {"0xf", "Extended"},
      {"0xb", "Win95 FAT32"}, {"0xc", "Win95 FAT32"}, {"0x7", "Installable File System"},
      {"0xef", "EFI System"}};
  if (scheme == "gpt") {
    for (const Known& known : gpt) {
      if (type == known.id) return std::string(known.name);
    }
    return type.empty() ? "GPT" : "GPT: " + std::string(type);
  }
  if (scheme == "dos") {
    for (const Known& known : mbr) {
      if (type == known.id) return std::string(known.name);
    }
  }
  return std::string(type);
}

void add_drive(const Machine& machine, const Facts& facts, Table& table, const Disk& disk,
               std::uint64_t index) {
  std::optional<Row> added = table.add(limits::disks);
  if (!added) return;
  Row& row = *added;
  const std::string sys = "/sys/block/" + disk.name + "/";
  const std::string device_id = "/dev/" + disk.name;
  const std::string path = machine.link("/sys/block/" + disk.name);
  const std::string vendor = machine.value(sys + "device/vendor");
  std::string model = machine.value(sys + "device/model");
  if (model.empty()) model = machine.value(sys + "device/name");  // SD and eMMC cards
  const bool vendor_is_name = !vendor.empty() && !vendor.starts_with("0x") && vendor != "ATA";
  const std::string type = interface_type(disk.name, path);
  const bool removable = machine.number(sys + "removable") == 1u;
  const bool read_only = machine.number(sys + "ro") == 1u;
  const auto sectors = machine.number(sys + "size");
  const auto sector_bytes = machine.number(sys + "queue/logical_block_size");

  row.text("DeviceID", device_id).text("Name", device_id).number("Index", index);
  row.text("Model", vendor_is_name && !model.starts_with(vendor) ? vendor + " " + model : model);
  row.text("Caption", model.empty() ? device_id : model).text("Description", "Disk drive");
  if (vendor_is_name) row.text("Manufacturer", vendor);
  row.text("InterfaceType", type).number("BytesPerSector", sector_bytes);
  row.text("MediaType", removable       ? "Removable Media"
                        : type == "USB" ? "External hard disk media"
                                        : "Fixed hard disk media");
  if (sectors && *sectors < sectors_max) {
    const std::uint64_t bytes = *sectors * sysfs_sector_bytes;
    row.number("Size", bytes).flag("MediaLoaded", bytes > 0);
    if (sector_bytes && *sector_bytes > 0) row.number("TotalSectors", bytes / *sector_bytes);
  }
  row.number("Partitions", disk.partitions.size());
  row.list("Capabilities",
           read_only ? std::vector<std::string>{"3"} : std::vector<std::string>{"3", "4"});
  row.list("CapabilityDescriptions",
           read_only ? std::vector<std::string>{"Random Access"}
                     : std::vector<std::string>{"Random Access", "Supports Writing"});
  // A SCSI device is named host:channel:target:lun.
  std::string target = machine.link(sys + "device");
  std::array<std::optional<std::uint64_t>, 4> place;
  std::string_view rest = last_component(target);
  for (auto& number : place) number = to_number(cut_at(rest, ':', &rest));
  if (place[0] && place[1] && place[2] && place[3]) {
    row.number("SCSIPort", place[0]).number("SCSIBus", place[1]);
    row.number("SCSITargetId", place[2]).number("SCSILogicalUnit", place[3]);
  }
  const std::string state = machine.value(sys + "device/state");
  if (state == "running" || state == "live") row.text("Status", "OK");
  if (state == "offline" || state == "transport-offline" || state == "dead")
    row.text("Status", "Error");
  row.text("SystemName", facts.host_name);
}

struct BootPlaces {
  std::set<std::string> device_numbers;  // of what is mounted at /boot, /boot/efi and /efi
};

void add_partition(const Machine& machine, const Facts& facts, const BootPlaces& boot, Table& table,
                   const Disk& disk, const std::string& name, std::uint64_t disk_index) {
  std::optional<Row> added = table.add(limits::partitions);
  if (!added) return;
  Row& row = *added;
  const std::string sys = "/sys/block/" + disk.name + "/" + name + "/";
  const std::string device_number = machine.value(sys + "dev");
  const std::vector<std::string> notes =
      udev_notes(machine, "b" + device_number,
                 {"ID_PART_ENTRY_SCHEME", "ID_PART_ENTRY_TYPE", "ID_PART_ENTRY_FLAGS"});
  const std::string& scheme = notes[0];
  const auto number = machine.number(sys + "partition");
  const auto sectors = machine.number(sys + "size"), start = machine.number(sys + "start");

  row.text("DeviceID", "/dev/" + name).text("Name", "/dev/" + name).text("Caption", "/dev/" + name);
  row.number("DiskIndex", disk_index);
  if (number && *number > 0) row.number("Index", *number - 1);  // Windows counts from 0
  row.number("BlockSize", sysfs_sector_bytes);
  if (sectors && *sectors < sectors_max) {
    row.number("NumberOfBlocks", *sectors).number("Size", *sectors * sysfs_sector_bytes);
  }
  if (start && *start < sectors_max) row.number("StartingOffset", *start * sysfs_sector_bytes);
  const std::string type = partition_type(scheme, notes[1]);
  row.text("Type", type).text("Description", type);
  if (scheme == "gpt") row.flag("PrimaryPartition", true);
  if (scheme == "dos" && number) row.flag("PrimaryPartition", *number <= 4);
  const bool efi = type == "GPT: System" || type == "EFI System";
  if (scheme == "dos") row.flag("Bootable", notes[2] == "0x80");
  if (scheme == "gpt") row.flag("Bootable", efi);
  if (!boot.device_numbers.empty())
    row.flag("BootPartition", boot.device_numbers.contains(device_number));
  if (const auto read_only = machine.number(sys + "ro"))
    row.number("Access", *read_only == 1 ? 1 : 3);
  row.text("SystemName", facts.host_name);
}

bool is_remote(std::string_view type) {
  // Never asked for their space: their server may be gone, and a call on them may not return.
  static constexpr std::string_view remote[] = {
      "nfs",  "nfs4",  "cifs",   "smb3",     "smbfs",     "ncpfs",  "afs",
      "ceph", "coda",  "9p",     "ocfs2",    "glusterfs", "lustre", "gpfs",
      "gfs2", "davfs", "beegfs", "virtiofs", "orangefs",  "pvfs2"};
  return std::find(std::begin(remote), std::end(remote), type) != std::end(remote) ||
         type.starts_with("fuse.") || type == "fuse";
}

bool is_storage(const Mount& mount) {
  if (mount.source.starts_with("/dev/") && mount.type != "devtmpfs" && mount.type != "squashfs")
    return true;
  if (mount.type == "zfs" || mount.type == "btrfs" || mount.type == "bcachefs") return true;
  return mount.mount_point == "/" &&
         (mount.type == "overlay" || mount.type == "tmpfs" || mount.type == "rootfs");
}

}  // namespace

void collect_disks(const Machine& machine, const Facts& facts, v1::HardwareInventory& inventory) {
  const auto names = machine.list("/sys/block");
  if (!names) return;
  std::string root_device_number;
  BootPlaces boot;
  for (const Mount& mount : look_at_mounts(machine)) {
    if (mount.mount_point == "/") root_device_number = mount.device_number;
    if (mount.mount_point == "/boot" || mount.mount_point == "/boot/efi" ||
        mount.mount_point == "/efi" || mount.mount_point == "/boot/firmware")
      boot.device_numbers.insert(mount.device_number);
  }
  if (boot.device_numbers.empty() && !root_device_number.empty())
    boot.device_numbers.insert(root_device_number);

  std::vector<Disk> disks;
  for (const std::string& name : *names) {
    if (disks.size() >= limits::disks) break;
    if (!is_drive(machine, name, root_device_number)) continue;
    Disk disk{name, {}};
    machine.each_name("/sys/block/" + name, [&](std::string_view entry) {
      const std::string inner(entry);
      if (entry.starts_with(name) &&
          machine.exists("/sys/block/" + name + "/" + inner + "/partition"))
        disk.partitions.push_back(inner);
      return disk.partitions.size() < limits::partitions;
    });
    const auto place = [&](const std::string& partition) {
      return machine.number("/sys/block/" + name + "/" + partition + "/partition").value_or(0);
    };
    std::stable_sort(
        disk.partitions.begin(), disk.partitions.end(),
        [&](const std::string& a, const std::string& b) { return place(a) < place(b); });
    disks.push_back(std::move(disk));
  }

  {
    Table table(inventory, "Win32_DiskDrive", cimv2, 1,
                {"DeviceID",     "BytesPerSector", "Capabilities", "CapabilityDescriptions",
                 "Caption",      "Description",    "Index",        "InterfaceType",
                 "Manufacturer", "MediaLoaded",    "MediaType",    "Model",
                 "Name",         "Partitions",     "SCSIBus",      "SCSILogicalUnit",
                 "SCSIPort",     "SCSITargetId",   "Size",         "Status",
                 "SystemName",   "TotalSectors"});
    for (std::size_t i = 0; i < disks.size(); ++i) add_drive(machine, facts, table, disks[i], i);
  }
  Table table(inventory, "Win32_DiskPartition", cimv2, 1,
              {"DeviceID", "Access", "BlockSize", "Bootable", "BootPartition", "Caption",
               "Description", "DiskIndex", "Index", "Name", "NumberOfBlocks", "PrimaryPartition",
               "Size", "StartingOffset", "SystemName", "Type"});
  for (std::size_t i = 0; i < disks.size(); ++i) {
    for (const std::string& name : disks[i].partitions)
      add_partition(machine, facts, boot, table, disks[i], name, i);
  }
}

void collect_logical_disks(const Machine& machine, const Facts& facts,
                           v1::HardwareInventory& inventory) {
  const std::vector<Mount> mounts = look_at_mounts(machine);
  if (mounts.empty()) return;
  Table table(
      inventory, "SMS_LogicalDisk", cimv2_sms, 1,
      {"DeviceID", "Access", "BlockSize", "Caption", "Description", "DriveType", "FileSystem",
       "FreeSpace", "MaximumComponentLength", "MediaType", "Name", "NumberOfBlocks", "ProviderName",
       "Size", "SystemName", "VolumeName", "VolumeSerialNumber"});
  table.churning({"FreeSpace"});
  // A file system mounted in several places is one disk, known by the first of them.
  std::vector<const Mount*> kept;
  std::set<std::string> sources;
  std::vector<std::string> asked;
  for (const Mount& mount : mounts) {
    const bool remote = is_remote(mount.type);
    // A part of a file system mounted elsewhere (a container's files and volumes) is no disk; btrfs
    // mounts only parts.
    const bool part = mount.root != "/" && mount.mount_point != "/" && mount.type != "btrfs";
    if ((!remote && (part || !is_storage(mount))) || kept.size() >= limits::file_systems) continue;
    if (mount.source.empty() || !sources.insert(mount.source).second) continue;
    kept.push_back(&mount);
    if (!remote) asked.push_back(mount.mount_point);
  }
  const std::vector<std::optional<Space>> space = machine.space(asked);
  std::size_t next_answer = 0;
  for (const Mount* mount : kept) {
    std::optional<Row> added = table.add(limits::file_systems);
    if (!added) break;
    Row& row = *added;
    const bool remote = is_remote(mount->type);
    const bool optical = mount->type == "iso9660" || mount->type == "udf";
    // A partition's disk is the folder above it.
    const std::string sys = "/sys/dev/block/" + mount->device_number;
    const std::string above =
        machine.exists(sys + "/partition") ? sys + "/../removable" : sys + "/removable";
    const bool removable = !remote && machine.number(above) == 1u;
    row.text("DeviceID", mount->source)
        .text("Name", mount->mount_point)
        .text("Caption", mount->mount_point);
    row.text("FileSystem", mount->type).number("Access", mount->read_only ? 1 : 3);
    const std::uint64_t drive_type = remote                   ? 4
                                     : optical                ? 5
                                     : mount->type == "tmpfs" ? 6
                                     : removable              ? 2
                                                              : 3;
    row.number("DriveType", drive_type);
    row.text("Description", drive_type == 4   ? "Network Connection"
                            : drive_type == 5 ? "CD-ROM Disc"
                            : drive_type == 6 ? "RAM Disk"
                            : drive_type == 2 ? "Removable Disk"
                                              : "Local Fixed Disk");
    if (drive_type == 3) row.number("MediaType", 12);  // fixed hard disk
    if (drive_type == 2) row.number("MediaType", 11);  // removable, other than a floppy
    row.text("SystemName", facts.host_name);
    if (remote) {
      row.text("ProviderName", mount->source);
      continue;
    }
    if (const std::optional<Space>& answer = space[next_answer++];
        answer && answer->block_bytes > 0) {
      constexpr std::uint64_t megabyte = 1u << 20;
      const auto megabytes = [&](std::uint64_t blocks) -> std::optional<std::uint64_t> {
        if (blocks > ~0ull / answer->block_bytes) return std::nullopt;
        return blocks * answer->block_bytes / megabyte;
      };
      row.number("Size", megabytes(answer->blocks))
          .number("FreeSpace", megabytes(answer->blocks_available));
      row.number("BlockSize", answer->block_bytes).number("NumberOfBlocks", answer->blocks);
      row.number("MaximumComponentLength", answer->name_bytes_max);
    }
    const std::vector<std::string> notes =
        udev_notes(machine, "b" + mount->device_number, {"ID_FS_LABEL", "ID_FS_UUID"});
    row.text("VolumeName", notes[0]).text("VolumeSerialNumber", notes[1]);
  }
}

}  // namespace greengate::agent
