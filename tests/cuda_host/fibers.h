// Threads of CUDA as fibers on the host, for tests.
//
// A fiber runs until it waits in __syncthreads, for its warp or for the grid; then the next one
// runs, by turns upwards and downwards, so that a missing barrier reads what is not yet there.
// Dynamic shared memory is NaN when a block begins, and an asynchronous copy is made when its
// thread waits for it. Neither races within a warp nor speed can be seen here.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
namespace cuda_on_host {

constexpr std::size_t kStack = 64 << 10;

struct Fiber {
  ucontext_t context;
  jmp_buf here;  // where it waits: a jump needs no system call, unlike swapcontext
  bool started = false;
  std::unique_ptr<char[]> stack{new char[kStack]};
  bool done = false;
  int warp_waits = 0, block_waits = 0, grid_waits = 0;  // how many barriers it has reached
  std::vector<std::function<void()>> copies;            // since the last group was closed
  std::deque<std::vector<std::function<void()>>> groups;
};

struct Block {
  jmp_buf scheduler;
  std::vector<Fiber> fibers;
  std::vector<unsigned long long> exchange;  // one word a thread, for shuffles
  std::vector<char> shared;
  std::function<void()> body;
  dim3 index;
  int current = 0, left = 0;
};

inline Block* block = nullptr;
inline std::vector<std::unique_ptr<Block>> grid;  // of a cooperative launch

}  // namespace cuda_on_host

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_on_host {

inline void yield() {
  const int me = block->current;
  const dim3 thread = threadIdx;
  // the scheduler makes this block the current one again
  if (_setjmp(block->fibers[me].here) == 0) _longjmp(block->scheduler, 1);
  block->current = me;
  threadIdx = thread;
}

// Waits until every thread of [first, last) that has not ended has been here as often.
inline void wait(int Fiber::* waits, int first, int last) {
  const int mine = ++(block->fibers[block->current].*waits);
  for (;;) {
    bool all = true;
    for (int i = first; i < last && all; ++i) {
      all = (block->fibers[i].done || block->fibers[i].*waits >= mine);
    }
    if (all) return;
    yield();
  }
}

inline void wait_for_warp() {
  const int first = block->current / 32 * 32, size = static_cast<int>(block->fibers.size());
  wait(&Fiber::warp_waits, first, first + 32 < size ? first + 32 : size);
}

inline void enter() {
  block->body();
  block->fibers[block->current].done = true;
  _longjmp(block->scheduler, 1);
}

template <typename T>
T shuffle(T value, int from) {
  static_assert(sizeof(T) <= 8);
  const int first = block->current / 32 * 32;
  std::memcpy(&block->exchange[block->current], &value, sizeof(T));
  wait_for_warp();
  T got = value;
  if (first + from < static_cast<int>(block->fibers.size())) {
    std::memcpy(&got, &block->exchange[first + from], sizeof(T));
  }
  wait_for_warp();
  return got;
}

inline void resume(Block& b, Fiber& fiber) {
  if (_setjmp(b.scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.here, 1);
  fiber.started = true;
  setcontext(&fiber.context);
}

// Gives every fiber of the block a turn.
inline void run_once(Block& b, bool up) {
  const int count = static_cast<int>(b.fibers.size());
  block = &b;
  blockIdx = b.index;
  for (int turn = 0; turn < count; ++turn) {
    const int i = up ? turn : count - 1 - turn;
    if (b.fibers[i].done) continue;
    b.current = i;
    threadIdx = dim3(i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y);
    resume(b, b.fibers[i]);
    if (b.fibers[i].done) --b.left;
  }
}

// Prepares a block to run from its beginning.
inline void begin(Block& b, dim3 index, std::size_t shared_bytes) {
  b.shared.assign(shared_bytes + 32, '\xff');
  b.index = index;
  b.left = static_cast<int>(b.fibers.size());
  for (Fiber& fiber : b.fibers) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.done = fiber.started = false;
    fiber.warp_waits = fiber.block_waits = fiber.grid_waits = 0;
    fiber.copies.clear();
    fiber.groups.clear();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
}

template <typename Kernel, typename... Arguments>
void launch(Kernel kernel, dim3 blocks, dim3 threads, std::size_t shared_bytes,
            Arguments... given) {
  gridDim = blocks;
  blockDim = threads;
  Block b;
  b.fibers = std::vector<Fiber>(threads.x * threads.y * threads.z);
  b.exchange.resize(b.fibers.size());
  b.body = [&] { kernel(given...); };
  for (unsigned z = 0; z < blocks.z; ++z) {
    for (unsigned y = 0; y < blocks.y; ++y) {
      for (unsigned x = 0; x < blocks.x; ++x) {
        begin(b, dim3(x, y, z), shared_bytes);
        for (bool up = true; b.left > 0; up = !up) run_once(b, up);
      }
    }
  }
  block = nullptr;
}

template <typename Kernel, typename Argument>
void launch_together(Kernel kernel, unsigned blocks, unsigned threads, std::size_t shared_bytes,
                     Argument given) {
  gridDim = dim3(blocks);
  blockDim = dim3(threads);
  for (unsigned x = 0; x < blocks; ++x) {
    grid.push_back(std::make_unique<Block>());
    Block& b = *grid.back();
    b.fibers = std::vector<Fiber>(threads);
    b.exchange.resize(threads);
    b.body = [&] { kernel(given); };
    begin(b, dim3(x), shared_bytes);
  }
  bool all = false;
  for (bool up = true; !all; up = !up) {
    all = true;
    for (auto& b : grid) {
      run_once(*b, up);
      all = all && b->left == 0;
    }
  }
  grid.clear();
  block = nullptr;
}

// Waits until every thread of the cooperative launch has been here as often.
inline void wait_for_grid() {
  const int mine = ++block->fibers[block->current].grid_waits;
  const auto missing = [&] {
    for (const auto& b : grid) {
      for (const Fiber& fiber : b->fibers) {
        if (!fiber.done && fiber.grid_waits < mine) return true;
      }
    }
    return false;
  };
  while (missing()) yield();
}

// Closed groups of asynchronous copies, but for the latest `left`, are made.
inline void wait_for_copies(std::size_t left) {
  auto& groups = block->fibers[block->current].groups;
  for (; groups.size() > left; groups.pop_front()) {
    for (const auto& copy : groups.front()) copy();
  }
}

inline void* shared() {
  const auto address = reinterpret_cast<std::uintptr_t>(block->shared.data());
  return reinterpret_cast<void*>((address + 31) / 32 * 32);
}

}  // namespace cuda_on_host

inline void __syncthreads() {
  using namespace cuda_on_host;
  wait(&Fiber::block_waits, 0, static_cast<int>(block->fibers.size()));
}
inline void __syncwarp(unsigned = 0xffffffffu) { cuda_on_host::wait_for_warp(); }
