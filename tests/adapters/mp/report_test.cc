// Goal: every report has the text the specification's samples have. Method: the samples' inputs in,
// the samples out.
#include "adapters/mp/discovery.h"
#include "greengate/v1/report.pb.h"
#include "tests/adapters/mp/fixture.h"

#include <gtest/gtest.h>

namespace greengate::test {
namespace {

using namespace greengate::adapters;

v1::Discovery sample_discovery() {
  v1::Discovery discovery;
  discovery.set_host_name("lnx-a001");
  discovery.set_fqdn("lnx-a001.example.test");
  discovery.set_domain("example.test");
  discovery.set_kernel("Linux 6.8.0-45");
  discovery.set_model("Edge Box 3");
  discovery.set_serial_number("SN-0001");
  discovery.set_system_uuid("5A1B7C3D-0000-4000-8000-00000000A0FF");
  discovery.set_product_version("1");
  discovery.set_installed_at_ms(to_millis(sample_facts().made_at));
  auto* address = discovery.add_addresses();
  address->set_interface("eth0");
  address->set_index(1);
  address->set_mac("02:00:00:00:00:01");
  address->set_address("192.0.2.10");
  address->set_subnet("192.0.2.0");
  return discovery;
}

TEST(Discovery, EqualsTheSample) {
  const auto message =
      discovery_message(sample_settings(), sample_identity(), sample_facts(), sample_discovery());
  ASSERT_TRUE(message) << message.error().message;
  const Opened opened = open(*message);
  EXPECT_EQ(body_text(opened), sample("ddr-full.xml"));
  EXPECT_EQ(inside(opened.header, "ReplyMode"), "ASync");
  EXPECT_EQ(inside(opened.header, "TargetEndpoint"), "MP_DdrEndpoint");
  EXPECT_FALSE(message->expects_reply);
}

}  // namespace
}  // namespace greengate::test
