#include "server/api_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "server/auth.h"
#include "server/error.h"
#include "tests/support/temp_folder.h"

namespace memgate {
namespace {

using testing::HasSubstr;
using testing::Not;

// SHA-256 of "correct horse battery staple", from sha256sum.
constexpr char kHashed[] = "c4bbcb1fbec99d65bf59d85c8cb62ee2db963f0fe106f483d9afa73bd4e39a8a";

TEST(ApiKeysTest, FindsTheTenantOfPlainAndHashedKeys) {
  const auto keys = ApiKeys::Parse(std::string("# keys\n\nplant-a sha256:") + kHashed +
                                   "\n  plant-b\tsecret-of-plant-b  \r\nplant-b another-of-plant-b\n");
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ(keys->size(), 3u);
  EXPECT_EQ(keys->TenantOf("correct horse battery staple"), "plant-a");
  EXPECT_EQ(keys->TenantOf("secret-of-plant-b"), "plant-b");
  EXPECT_EQ(keys->TenantOf("another-of-plant-b"), "plant-b");
}

TEST(ApiKeysTest, KnowsNobodyElse) {
  const auto keys = ApiKeys::Parse("a secret-secret-secret\n");
  ASSERT_TRUE(keys.ok());
  EXPECT_EQ(keys->TenantOf(""), std::nullopt);
  EXPECT_EQ(keys->TenantOf("secret-secret-secre"), std::nullopt);
  EXPECT_EQ(keys->TenantOf("secret-secret-secret "), std::nullopt);
}

TEST(ApiKeysTest, ErrorsNameTheLineAndNeverTheKey) {
  for (const std::string text :
       {"a short-secret", "a", "a secret-secret-secret b", "bad/name secret-secret-secret", "a sha256:1234",
        "b first-long-enough-secret\na first-long-enough-secret"}) {
    const auto keys = ApiKeys::Parse("# first line\n" + text + "\n");
    ASSERT_TRUE(absl::IsInvalidArgument(keys.status())) << text;
    const std::string message(keys.status().message());
    EXPECT_THAT(message, HasSubstr("line "));
    EXPECT_THAT(message, Not(HasSubstr("secret")));
  }
}

TEST(ApiKeysTest, AnEmptyFileIsAnErrorNotAnOpenDoor) {
  EXPECT_TRUE(absl::IsInvalidArgument(ApiKeys::Parse("# nothing\n").status()));
}

TEST(ApiKeysTest, LoadNamesTheFile) {
  const TempFolder folder;
  EXPECT_THAT(std::string(ApiKeys::Load(folder.File("none")).status().message()),
              HasSubstr(folder.File("none")));
  const std::string bad = folder.Write("keys", "x");
  EXPECT_THAT(std::string(ApiKeys::Load(bad).status().message()), HasSubstr(bad));
}

TEST(ApiKeysTest, WarnsAboutAFileThatEverybodyCanRead) {
  const TempFolder folder;
  const std::string file = folder.Write("keys", "x");
  std::filesystem::permissions(file, std::filesystem::perms(0644));
  EXPECT_THAT(KeyFileWarning(file), HasSubstr("chmod"));
  std::filesystem::permissions(file, std::filesystem::perms(0640));
  EXPECT_EQ(KeyFileWarning(file), "");
}

class AuthenticatorTest : public testing::Test {
 protected:
  Authenticator authenticator_{AuthMode::kApiKeys, *ApiKeys::Parse("a key-of-tenant-a-1234\n")};
};

TEST_F(AuthenticatorTest, ReadsBearerKeys) {
  EXPECT_EQ(*authenticator_.TenantOfHeader("Bearer key-of-tenant-a-1234"), "a");
  EXPECT_EQ(*authenticator_.TenantOfHeader("bearer  key-of-tenant-a-1234 "), "a");
}

TEST_F(AuthenticatorTest, TellsMissingFromInvalidCredentials) {
  const auto reason = [&](std::optional<absl::string_view> header) {
    const auto tenant = authenticator_.TenantOfHeader(header);
    EXPECT_TRUE(absl::IsUnauthenticated(tenant.status()));
    return ReasonOf(tenant.status());
  };
  EXPECT_EQ(reason(std::nullopt), "CREDENTIALS_MISSING");
  EXPECT_EQ(reason("Basic abc"), "CREDENTIALS_INVALID");
  EXPECT_EQ(reason("Bearer "), "CREDENTIALS_INVALID");
  EXPECT_EQ(reason("Bearer key-of-tenant-a-1235"), "CREDENTIALS_INVALID");
}

TEST_F(AuthenticatorTest, ReplacedKeysTakeEffectAtOnce) {
  authenticator_.ReplaceKeys(*ApiKeys::Parse("b key-of-tenant-b-1234\n"));
  EXPECT_FALSE(authenticator_.TenantOfHeader("Bearer key-of-tenant-a-1234").ok());
  EXPECT_EQ(*authenticator_.TenantOfHeader("Bearer key-of-tenant-b-1234"), "b");
}

}  // namespace
}  // namespace memgate
