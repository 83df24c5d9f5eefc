// A program built for a newer processor than the one it is started on would die of SIGILL in the
// middle of something. This ends it before anything else runs, with one line and status 2. Every
// function here is compiled for the oldest x86-64 whatever -march says, and none is from a header,
// so that the check itself needs nothing it checks for.
#if defined(__x86_64__)
#include <unistd.h>

namespace {

#define FISSION_PLAIN __attribute__((target("arch=x86-64"), noinline))

// What the compiler was allowed to use (its macros), against what the processor and the kernel
// offer.
FISSION_PLAIN const char* first_lacking() {
  __builtin_cpu_init();
#define FISSION_NEEDS(feature) \
  if (!__builtin_cpu_supports(feature)) return feature;
#ifdef __SSE4_2__
  FISSION_NEEDS("sse4.2")
#endif
#ifdef __POPCNT__
  FISSION_NEEDS("popcnt")
#endif
#ifdef __AVX__
  FISSION_NEEDS("avx")
#endif
#ifdef __AVX2__
  FISSION_NEEDS("avx2")
#endif
#ifdef __FMA__
  FISSION_NEEDS("fma")
#endif
#ifdef __BMI__
  FISSION_NEEDS("bmi")
#endif
#ifdef __BMI2__
  FISSION_NEEDS("bmi2")
#endif
#ifdef __AVX512F__
  FISSION_NEEDS("avx512f")
#endif
#ifdef __AVX512VL__
  FISSION_NEEDS("avx512vl")
#endif
#ifdef __AVX512BW__
  FISSION_NEEDS("avx512bw")
#endif
#ifdef __AVX512DQ__
  FISSION_NEEDS("avx512dq")
#endif
#ifdef __AVX512CD__
  FISSION_NEEDS("avx512cd")
#endif
#ifdef __AVX512VBMI__
  FISSION_NEEDS("avx512vbmi")
#endif
#ifdef __AVX512VBMI2__
  FISSION_NEEDS("avx512vbmi2")
#endif
#ifdef __AVX512VNNI__
  FISSION_NEEDS("avx512vnni")
#endif
#ifdef __AVX512IFMA__
  FISSION_NEEDS("avx512ifma")
#endif
  return nullptr;
}

FISSION_PLAIN void say(const char* text) {
  unsigned long n = 0;
  while (text[n]) ++n;
  if (write(2, text, n) < 0) _exit(2);
}

// 101 is the first priority a program may have: before every static initialiser without one.
__attribute__((constructor(101), target("arch=x86-64"))) void refuse_a_lesser_processor() {
  const char* feature = first_lacking();
  if (!feature) return;
  say("fission: this program was built for a processor with ");
  say(feature);
  say(", which this one lacks; build it here with `make ARCH=native`\n");
  _exit(2);
}

}  // namespace
#endif
