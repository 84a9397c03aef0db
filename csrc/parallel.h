// Runs numbered tasks on a few threads that stay alive between calls.
//
// These are the OpenMP threads loaded by torch: separate threads would compete for the cores with
// them, because they spin for a while after every torch operator. The extension does not link to
// OpenMP, since a second runtime would double the threads; if none is loaded, and in a forked
// child, a small internal pool runs the tasks.
#pragma once

#include <cstdint>

namespace fastbrain {

// body(context, task, worker) for every task in [0, tasks), on at most `threads` threads with
// worker < threads. Returns when all are done. The body must not throw. A call that finds the pool
// busy runs on the calling thread alone.
void parallel_run(int threads, std::int64_t tasks,
                  void (*body)(void* context, std::int64_t task, int worker), void* context);

}  // namespace fastbrain
