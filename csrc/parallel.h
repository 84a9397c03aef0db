// Runs numbered tasks on a few threads that stay alive between calls.
//
// A pool of our own rather than OpenMP: a second OpenMP runtime beside torch's would double the
// threads, and the extension would depend on it.
#pragma once

#include <cstdint>

namespace fastbrain {

// body(context, task, worker) for every task in [0, tasks), on at most `threads` threads with
// worker < threads. Returns when all are done. The body must not throw. A call that finds the pool
// busy runs on the calling thread alone.
void parallel_run(int threads, std::int64_t tasks,
                  void (*body)(void* context, std::int64_t task, int worker), void* context);

}  // namespace fastbrain
