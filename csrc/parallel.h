// Runs numbered tasks on a few threads that stay alive between calls.
//
// They are the threads of the OpenMP that torch has loaded: threads of our own would share the
// cores with those, which spin for a while after every torch operator. The extension does not link
// to it, since a second OpenMP runtime would double the threads; where none is loaded, and in a
// forked child, a small pool of our own runs the tasks.
#pragma once

#include <cstdint>

namespace fastbrain {

// body(context, task, worker) for every task in [0, tasks), on at most `threads` threads with
// worker < threads. Returns when all are done. The body must not throw. A call that finds the pool
// busy runs on the calling thread alone.
void parallel_run(int threads, std::int64_t tasks,
                  void (*body)(void* context, std::int64_t task, int worker), void* context);

}  // namespace fastbrain
