// The cost of structured output per token.
#ifndef MEMGATE_TESTS_BENCH_STRUCTURED_BENCH_H_
#define MEMGATE_TESTS_BENCH_STRUCTURED_BENCH_H_

#include <string>

namespace memgate::bench {

// Registers "Mask/FORMAT/vocabulary:N/first" and ".../again": finding the allowed tokens and taking the next
// one, per token of an answer of that format; as the first answer that asks for it, and once all is cached.
// Counter worst_us: the token that took longest. Vocabularies are made up, of 512 to 152,000 tokens, unless
// `tokenizer_folder` names one.
void RegisterStructuredBenchmarks(const std::string& tokenizer_folder);

}  // namespace memgate::bench

#endif  // MEMGATE_TESTS_BENCH_STRUCTURED_BENCH_H_
