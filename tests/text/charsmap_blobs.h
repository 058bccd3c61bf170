// Tables of character replacements for tests.
#ifndef MEMGATE_TESTS_TEXT_CHARSMAP_BLOBS_H_
#define MEMGATE_TESTS_TEXT_CHARSMAP_BLOBS_H_

#include <map>
#include <string>

namespace memgate {

// As model files hold it; the keys are ASCII or Latin-1 letters in UTF-8, a few of them.
std::string CharsmapBlob(const std::map<std::string, std::string>& replacements);

}  // namespace memgate

#endif  // MEMGATE_TESTS_TEXT_CHARSMAP_BLOBS_H_
