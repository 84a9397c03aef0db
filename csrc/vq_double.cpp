// All of vq.cpp once more, in float64.
#define FASTBRAIN_DOUBLE
#include "vq.cpp"
