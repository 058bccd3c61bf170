#include "server/address.h"

#include <gtest/gtest.h>

#include <string>

namespace memgate {
namespace {

TEST(AddressTest, KeepsWhatItParses) {
  for (const std::string text :
       {"127.0.0.1:50061", "0.0.0.0:0", "[::1]:65535", "gateway.local:1", "unix:/run/m.sock"}) {
    const auto address = ParseListenAddress(text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->ToString(), text);
  }
}

TEST(AddressTest, KnowsWhichAddressesOnlyThisMachineReaches) {
  for (const char* local : {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/tmp/s"}) {
    EXPECT_TRUE(ParseListenAddress(local)->is_local()) << local;
  }
  for (const char* open : {"0.0.0.0:1", "[::]:1", "192.168.1.2:1", "gateway:1", "128.0.0.1:1"}) {
    EXPECT_FALSE(ParseListenAddress(open)->is_local()) << open;
  }
}

TEST(AddressTest, RejectsWhatNamesNoPlaceToListen) {
  for (const std::string& text :
       {std::string("127.0.0.1"), std::string(":50061"), std::string("host:port"), std::string("host:65536"),
        std::string("host:-1"), std::string("::1:50061"), std::string("unix:"), std::string("unix:relative"),
        "unix:/" + std::string(107, 'x'), std::string()}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseListenAddress(text).status())) << text;
  }
}

}  // namespace
}  // namespace memgate
