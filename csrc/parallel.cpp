#include "parallel.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>

namespace fastbrain {
namespace {

// long enough to bridge two phases of one kernel, short enough to leave the core to torch after it
constexpr int kSpins = 2000;

// The process that loaded the extension; a forked child has another number.
const pid_t loading_process = getpid();

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

struct Job {
  void (*body)(void*, std::int64_t, int);
  void* context;
  std::int64_t tasks;
  int helpers;  // how many more threads may join
  std::atomic<std::int64_t> next{0};
  std::atomic<int> inside{0};
  int joined = 0;

  void work(int worker) {
    for (std::int64_t task; (task = next.fetch_add(1)) < tasks;) body(context, task, worker);
  }
};

class Pool {
 public:
  Pool() : pid_(getpid()) {}

  bool survived_fork() const { return pid_ == getpid(); }

  // false if another thread is using the pool
  bool run(Job& job) {
    std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
    if (!turn.owns_lock()) return false;
    try {
      for (; workers_ < job.helpers; ++workers_) std::thread([this] { serve(); }).detach();
    } catch (const std::exception&) {
      // the system allows no more threads: those that exist take all tasks
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      generation_.fetch_add(1);
    }
    wake_.notify_all();
    job.work(0);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = nullptr;
    }
    for (int spin = 0; spin < kSpins && job.inside.load() > 0; ++spin) pause();
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return job.inside.load() == 0; });
    return true;
  }

 private:
  void serve() {
    std::uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < kSpins && generation_.load() == seen; ++spin) pause();
      Job* job = nullptr;
      int worker = 0;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return generation_.load() != seen; });
        seen = generation_.load();
        if (job_ == nullptr || job_->joined == job_->helpers) continue;
        job = job_;
        worker = ++job->joined;
        job->inside.fetch_add(1);
      }
      job->work(worker);
      std::lock_guard<std::mutex> lock(mutex_);
      // under the lock: the caller owns the job and may leave as soon as it reads zero
      if (job->inside.fetch_sub(1) == 1) done_.notify_all();
    }
  }

  const pid_t pid_;
  std::mutex turn_, mutex_;
  std::condition_variable wake_, done_;
  std::atomic<std::uint64_t> generation_{0};
  Job* job_ = nullptr;
  int workers_ = 0;
};

std::atomic<Pool*> shared_pool{nullptr};

// void GOMP_parallel(body, data, threads, flags): GNU's OpenMP has it, and Intel's and LLVM's too
using Team = void (*)(void (*)(void*), void*, unsigned, unsigned);

int find_team(dl_phdr_info* library, std::size_t, void* found) {
  for (const char* name : {"libgomp", "libiomp5", "libomp"}) {
    if (std::strstr(library->dlpi_name, name) == nullptr) continue;
    void* handle = dlopen(library->dlpi_name, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr) continue;
    *static_cast<void**>(found) = dlsym(handle, "GOMP_parallel");
  }
  return *static_cast<void**>(found) != nullptr;
}

// The OpenMP runtime of the process, or nullptr. In a forked child, GNU OpenMP would wait for
// threads that do not exist there.
Team team() {
  static const Team loaded = [] {
    void* found = nullptr;
    dl_iterate_phdr(find_team, &found);
    return reinterpret_cast<Team>(found);
  }();
  return loading_process == getpid() ? loaded : nullptr;
}

void join(void* data) {
  Job& job = *static_cast<Job*>(data);
  job.work(job.inside.fetch_add(1));
}

// never destroyed: threads may still wait in it at process exit
Pool& pool() {
  Pool* current = shared_pool.load();
  while (current == nullptr || !current->survived_fork()) {
    Pool* fresh = new Pool;
    if (shared_pool.compare_exchange_strong(current, fresh)) return *fresh;
    delete fresh;
  }
  return *current;
}

}  // namespace

void parallel_run(int threads, std::int64_t tasks, void (*body)(void*, std::int64_t, int),
                  void* context) {
  const std::int64_t useful = tasks < threads ? tasks : threads;
  Job job{body, context, tasks, static_cast<int>(useful) - 1};
  if (useful <= 1) return job.work(0);
  // all threads: a team of another size would be created anew, and then that of torch again
  if (const Team run = team()) return run(join, &job, static_cast<unsigned>(threads), 0);
  if (!pool().run(job)) job.work(0);
}

}  // namespace fastbrain
