// The fake of CUDA: what stands in for the GPU's libraries in fission_cuda_fake.so, so that the
// backend's real files run on the CPU.
// It is stricter than a GPU: whatever is wrong, or right by luck only, throws a Misuse with one
// line ("[fake] cudaMemcpyAsync: to: 16 bytes from byte 0 of an allocation of 12"), and the first
// is remembered. Device memory cannot be touched by the host, and holds NaN until it is written;
// streams run when the host waits for them; GEMM and convolutions refuse input that nobody wrote.
// It says nothing about speed, TF32's exact rounding, true concurrency, or a driver's behaviour.
// From outside the module: these functions, by dlsym. For whole programs: FISSION_FAKE, settings
// as for fission_fake_set.
#pragma once
#include <cstddef>

extern "C" {
// Comma-separated: no_driver | stub | no_device | no_image | no_cublas | no_cudnn | old_driver |
// none (what is wrong with the machine), lost_after=CALLS, lost_error=719 (or 46), memory=BYTES,
// devices=N, capability=80, fibers=up|down, streams=late|early.
void fission_fake_set(const char* settings);
void fission_fake_reset();           // forgets everything: memory, streams, counters, settings
const char* fission_fake_failure();  // the first misuse, or ""
const char* fission_fake_leaks();    // what is allocated, one kind a line, or ""
long fission_fake_count(const char* what);  // calls since the last clear: "cudaMalloc"; "launch",
                                            // "launch NAME" of kernels; "" of all
const char* fission_fake_counts();          // all of them: "name count" a line
void fission_fake_clear_counts();
void fission_fake_record(int on);  // keeps what is enqueued from 1 to 0 ...
void fission_fake_replay();        // ... and runs that once more, as a CUDA graph would
}
