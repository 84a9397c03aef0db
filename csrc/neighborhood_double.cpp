// All of neighborhood.cpp once more, in float64.
#define FASTBRAIN_DOUBLE
#include "neighborhood.cpp"
