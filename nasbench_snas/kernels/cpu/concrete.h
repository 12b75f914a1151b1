// The concrete distribution: rows of softmax((logits + noise) / tau), and its gradient. NaN propagates.
#pragma once
#include <cmath>
#include <cstdint>

// z: (rows, k). Row i takes the logits of row i % period, (period, k).
template <class T>
void concrete_forward(const T* logits, const T* noise, T* z, int64_t rows, int64_t period, int64_t k, T tau) {
  for (int64_t i = 0; i < rows; i++) {
    const T *a = logits + i % period * k, *b = noise + i * k;
    T *o = z + i * k, top = a[0] + b[0], total = 0;
    for (int64_t j = 0; j < k; j++) {
      o[j] = a[j] + b[j];
      if (o[j] > top || o[j] != o[j]) top = o[j];
    }
    for (int64_t j = 0; j < k; j++) total += o[j] = std::exp((o[j] - top) / tau);
    for (int64_t j = 0; j < k; j++) o[j] /= total;
  }
}

// d = z (g - <g, z>) / tau, all (rows, k).
template <class T>
void concrete_backward(const T* z, const T* g, T* d, int64_t rows, int64_t k, T tau) {
  for (int64_t i = 0; i < rows; i++, z += k, g += k, d += k) {
    T dot = 0;
    for (int64_t j = 0; j < k; j++) dot += z[j] * g[j];
    for (int64_t j = 0; j < k; j++) d[j] = z[j] * (g[j] - dot) / tau;
  }
}
