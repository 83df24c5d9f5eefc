// Threads that wait for each other on a machine that other programs use, too.
#pragma once

namespace fission {

// A thread of GNU's OpenMP that waits spins for milliseconds, so that the next region begins at
// once. Where other programs want the processors, it takes them from the very thread that it waits
// for: two runs side by side took sixty times as long. With more OpenMP threads than processors the
// library spins for a microsecond only (its manual, GOMP_SPINCOUNT). So a thread looks five times a
// second how much of the processors others use, and while they do not suffice for all, it keeps
// OpenMP threads that do nothing. For a run alone nothing is changed. What the user set
// (OMP_WAIT_POLICY, GOMP_SPINCOUNT) holds: nothing is done then.
// threads: that compute from here on; 1: none of this. Another call ends what the one before began.
void watch_for_oversubscription(int threads);

}  // namespace fission
