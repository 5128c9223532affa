#include "agent/collectors/collectors.h"
#include "agent/inventory_view.h"
#include "core/clock.h"
#include "tests/agent/collectors/recorded_machine.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

namespace greengate::test {
namespace {

using agent::collect_discovery;
using agent::collect_hardware_inventory;

constexpr const char* classes[] = {"Win32_BIOS",
                                   "Win32_ComputerSystem",
                                   "Win32_DiskDrive",
                                   "Win32_DiskPartition",
                                   "Win32_NetworkAdapter",
                                   "Win32_NetworkAdapterConfiguration",
                                   "Win32_OperatingSystem",
                                   "Win32_Process",
                                   "Win32_Service",
                                   "Win32Reg_AddRemovePrograms",
                                   "SMS_LogicalDisk",
                                   "SMS_Processor"};

// The first thing that is wrong with the real machine's inventory, or empty.
std::string look_around() {
  const SystemClock clock;
  const auto started = clock.steady();
  const v1::HardwareInventory inventory = collect_hardware_inventory({}, clock);
  const v1::Discovery discovery = collect_discovery({}, clock);
  const auto took = clock.steady() - started;
  for (const char* name : classes) {
    if (!find_class(inventory, name)) return std::string(name) + " is absent";
  }
  for (const char* name :
       {"Win32_ComputerSystem", "Win32_OperatingSystem", "Win32_Process", "SMS_Processor"}) {
    if (find_class(inventory, name)->instances_size() == 0) return std::string(name) + " is empty";
  }
  if (took > std::chrono::seconds(3)) return "it took longer than 3 s";
  if (discovery.host_name().empty()) return "no host name";
  if (discovery.operating_system().empty()) return "no operating system";
  const std::string wrong = what_is_wrong(inventory);
  return wrong.empty() ? what_is_wrong(discovery) : wrong;
}

TEST(ThisMachine, ShowsAllTwelveClassesWithinThreeSeconds) {
  EXPECT_EQ(look_around(), "");
}

TEST(ThisMachine, IsSeenByAnOrdinaryUserToo) {
  if (geteuid() != 0) GTEST_SKIP() << "already an ordinary user: the other test is this one";
  int report[2];
  ASSERT_EQ(pipe(report), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    constexpr uid_t nobody = 65'534;
    std::string wrong = "cannot become nobody";
    if (setgroups(0, nullptr) == 0 && setgid(nobody) == 0 && setuid(nobody) == 0)
      wrong = look_around();
    [[maybe_unused]] const ssize_t told = write(report[1], wrong.data(), wrong.size());
    _exit(0);
  }
  close(report[1]);
  char told[512];
  const ssize_t size = read(report[0], told, sizeof told);
  close(report[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  ASSERT_GE(size, 0);
  EXPECT_EQ(std::string(told, static_cast<std::size_t>(size)), "");
}

TEST(ThisMachine, KnowsTheProcessThatAsks) {
  const v1::HardwareInventory inventory = collect_hardware_inventory({}, SystemClock());
  const int me = row_where(inventory, "Win32_Process", "Handle", std::to_string(getpid()));
  ASSERT_GE(me, 0);
  EXPECT_EQ(value_of(inventory, "Win32_Process", me, "Name").text(), "collectors_test");
  EXPECT_EQ(value_of(inventory, "Win32_Process", me, "ParentProcessId").unsigned_integer(),
            static_cast<std::uint64_t>(getppid()));
  EXPECT_GT(value_of(inventory, "Win32_Process", me, "WorkingSetSize").unsigned_integer(),
            1'000'000u);
}

TEST(ThisMachine, LeavesNoChildBehind) {
  (void)collect_hardware_inventory({}, SystemClock());
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

}  // namespace
}  // namespace greengate::test
