#include "kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "base/rng.h"

namespace Atoll::kernels::reference {

namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

std::vector<double> doubles(Index count) { return std::vector<double>(static_cast<std::size_t>(count)); }

// Softmax of one causal row in place; returns its log-sum-exp.
double softmax(double* row, Index length) {
    const double largest = *std::max_element(row, row + length);
    double sum = 0;
    for (Index i = 0; i < length; ++i) sum += std::exp(row[i] - largest);
    const double lse = largest + std::log(sum);
    for (Index i = 0; i < length; ++i) row[i] = std::exp(row[i] - lse);
    return lse;
}

double dot(const double* a, const double* b, Index size) {
    double sum = 0;
    for (Index i = 0; i < size; ++i) sum += a[i] * b[i];
    return sum;
}

}  // namespace

void matmul(const double* a, const double* b, const double* bias, double* c, Index m, Index n, Index k,
            bool transpose_a, bool transpose_b, bool accumulate) {
    for (Index i = 0; i < m; ++i) {
        for (Index j = 0; j < n; ++j) {
            double sum = accumulate ? c[i * n + j] : 0;
            if (bias != nullptr) sum += bias[j];
            for (Index l = 0; l < k; ++l) {
                sum +=
                    (transpose_a ? a[l * m + i] : a[i * k + l]) * (transpose_b ? b[j * k + l] : b[l * n + j]);
            }
            c[i * n + j] = sum;
        }
    }
}

void bias_backward(const double* d_y, double* d_bias, Index m, Index n) {
    for (Index i = 0; i < m; ++i) {
        for (Index j = 0; j < n; ++j) d_bias[j] += d_y[i * n + j];
    }
}

void embedding_forward(const std::int32_t* tokens, const double* token_table, const double* position_table,
                       double* out, Index batch, Index sequence, Index channels) {
    for (Index i = 0; i < batch * sequence; ++i) {
        for (Index c = 0; c < channels; ++c) {
            const double position =
                position_table == nullptr ? 0 : position_table[i % sequence * channels + c];
            out[i * channels + c] = token_table[tokens[i] * channels + c] + position;
        }
    }
}

void embedding_backward(const std::int32_t* tokens, const double* d_out, double* d_token_table,
                        double* d_position_table, Index batch, Index sequence, Index channels) {
    for (Index i = 0; i < batch * sequence; ++i) {
        for (Index c = 0; c < channels; ++c) {
            d_token_table[tokens[i] * channels + c] += d_out[i * channels + c];
            if (d_position_table != nullptr)
                d_position_table[i % sequence * channels + c] += d_out[i * channels + c];
        }
    }
}

void layernorm_forward(const double* x, const double* residual_in, double* residual_out, const double* weight,
                       const double* bias, double* y, double* mean, double* rstd, Index rows, Index channels,
                       double epsilon) {
    std::vector<double> row = doubles(channels);
    for (Index i = 0; i < rows; ++i) {
        double sum = 0;
        for (Index c = 0; c < channels; ++c) {
            row[static_cast<std::size_t>(c)] =
                x[i * channels + c] + (residual_in == nullptr ? 0 : residual_in[i * channels + c]);
            sum += row[static_cast<std::size_t>(c)];
        }
        if (residual_in != nullptr) std::copy(row.begin(), row.end(), residual_out + i * channels);
        mean[i] = sum / static_cast<double>(channels);
        double variance = 0;
        for (const double value : row) variance += (value - mean[i]) * (value - mean[i]);
        rstd[i] = 1 / std::sqrt(variance / static_cast<double>(channels) + epsilon);
        for (Index c = 0; c < channels; ++c) {
            y[i * channels + c] =
                (row[static_cast<std::size_t>(c)] - mean[i]) * rstd[i] * weight[c] + bias[c];
        }
    }
}

// With n = (x - mean) rstd and g = d_y weight: d_x = rstd (g - mean(g) - n mean(g n)).
void layernorm_backward(const double* x, const double* weight, const double* mean, const double* rstd,
                        const double* d_y, double* d_x, double* d_weight, double* d_bias, Index rows,
                        Index channels, bool accumulate) {
    for (Index i = 0; i < rows; ++i) {
        const auto normal = [&](Index c) { return (x[i * channels + c] - mean[i]) * rstd[i]; };
        double mean_g = 0;
        double mean_gn = 0;
        for (Index c = 0; c < channels; ++c) {
            const double g = d_y[i * channels + c] * weight[c];
            mean_g += g / static_cast<double>(channels);
            mean_gn += g * normal(c) / static_cast<double>(channels);
        }
        for (Index c = 0; c < channels; ++c) {
            const double n = normal(c);
            d_weight[c] += d_y[i * channels + c] * n;
            d_bias[c] += d_y[i * channels + c];
            const double value = rstd[i] * (d_y[i * channels + c] * weight[c] - mean_g - n * mean_gn);
            d_x[i * channels + c] = value + (accumulate ? d_x[i * channels + c] : 0);
        }
    }
}

void rmsnorm_forward(const double* x, const double* residual_in, double* residual_out, const double* weight,
                     double* y, double* rstd, Index rows, Index channels, double epsilon) {
    std::vector<double> row = doubles(channels);
    for (Index i = 0; i < rows; ++i) {
        double squares = 0;
        for (Index c = 0; c < channels; ++c) {
            const double value =
                x[i * channels + c] + (residual_in == nullptr ? 0 : residual_in[i * channels + c]);
            row[static_cast<std::size_t>(c)] = value;
            squares += value * value;
        }
        if (residual_in != nullptr) std::copy(row.begin(), row.end(), residual_out + i * channels);
        rstd[i] = 1 / std::sqrt(squares / static_cast<double>(channels) + epsilon);
        for (Index c = 0; c < channels; ++c) {
            y[i * channels + c] =
                row[static_cast<std::size_t>(c)] * rstd[i] * (weight == nullptr ? 1 : weight[c]);
        }
    }
}

// With n = x rstd and g = d_y weight: d_x = rstd (g - n mean(g n)).
void rmsnorm_backward(const double* x, const double* weight, const double* rstd, const double* d_y,
                      double* d_x, double* d_weight, Index rows, Index channels, bool accumulate) {
    for (Index i = 0; i < rows; ++i) {
        const auto g = [&](Index c) { return d_y[i * channels + c] * (weight == nullptr ? 1 : weight[c]); };
        double mean_gn = 0;
        for (Index c = 0; c < channels; ++c) {
            mean_gn += g(c) * x[i * channels + c] * rstd[i] / static_cast<double>(channels);
        }
        for (Index c = 0; c < channels; ++c) {
            const double n = x[i * channels + c] * rstd[i];
            const double value = rstd[i] * (g(c) - n * mean_gn);
            if (d_weight != nullptr) d_weight[c] += d_y[i * channels + c] * n;
            d_x[i * channels + c] = value + (accumulate ? d_x[i * channels + c] : 0);
        }
    }
}

void gelu_forward(const double* x, double* y, std::size_t size) {
    const double root = std::sqrt(2 / std::numbers::pi);
    for (std::size_t i = 0; i < size; ++i) {
        y[i] = 0.5 * x[i] * (1 + std::tanh(root * (x[i] + 0.044715 * x[i] * x[i] * x[i])));
    }
}

void gelu_backward(const double* x, const double* d_y, double* d_x, std::size_t size) {
    const double root = std::sqrt(2 / std::numbers::pi);
    for (std::size_t i = 0; i < size; ++i) {
        const double t = std::tanh(root * (x[i] + 0.044715 * x[i] * x[i] * x[i]));
        const double inner = root * (1 + 3 * 0.044715 * x[i] * x[i]);
        d_x[i] = d_y[i] * (0.5 * (1 + t) + 0.5 * x[i] * (1 - t * t) * inner);
    }
}

void swiglu_forward(const double* gate_up, double* y, Index rows, Index inner) {
    for (Index i = 0; i < rows; ++i) {
        const double* gate = gate_up + 2 * i * inner;
        for (Index j = 0; j < inner; ++j) y[i * inner + j] = gate[j] * sigmoid(gate[j]) * gate[inner + j];
    }
}

void swiglu_backward(const double* gate_up, const double* d_y, double* d_gate_up, Index rows, Index inner) {
    for (Index i = 0; i < rows; ++i) {
        const double* gate = gate_up + 2 * i * inner;
        double* d_gate = d_gate_up + 2 * i * inner;
        for (Index j = 0; j < inner; ++j) {
            const double s = sigmoid(gate[j]);
            const double d = d_y[i * inner + j];
            d_gate[inner + j] = d * gate[j] * s;
            d_gate[j] = d * gate[inner + j] * s * (1 + gate[j] * (1 - s));
        }
    }
}

void rope(double* x, const double* frequencies, Index batch, Index sequence, Index heads, Index head_dim,
          Index stride, Index position_offset, bool inverse) {
    const Index half = head_dim / 2;
    for (Index i = 0; i < batch * sequence; ++i) {
        const auto position = static_cast<double>(position_offset + i % sequence);
        for (Index h = 0; h < heads; ++h) {
            double* head = x + i * stride + h * head_dim;
            for (Index j = 0; j < half; ++j) {
                const double angle = position * frequencies[j];
                const double cosine = std::cos(angle);
                const double sine = inverse ? -std::sin(angle) : std::sin(angle);
                const double first = head[j];
                const double second = head[j + half];
                head[j] = first * cosine - second * sine;
                head[j + half] = second * cosine + first * sine;
            }
        }
    }
}

void attention_forward(const double* q, const double* k, const double* v, double* out, double* lse,
                       const AttentionShape& s) {
    const Index d = s.head_dim;
    std::vector<double> p = doubles(s.sequence);
    for (Index b = 0; b < s.batch; ++b) {
        for (Index h = 0; h < s.heads; ++h) {
            const Index kv = h / (s.heads / s.kv_heads);
            for (Index t = 0; t < s.sequence; ++t) {
                const Index row = b * s.sequence + t;
                for (Index u = 0; u <= t; ++u) {
                    const double* key = k + (b * s.sequence + u) * s.k_stride + kv * d;
                    p[static_cast<std::size_t>(u)] = s.scale * dot(q + row * s.q_stride + h * d, key, d);
                }
                lse[(b * s.heads + h) * s.sequence + t] = softmax(p.data(), t + 1);
                for (Index j = 0; j < d; ++j) {
                    double sum = 0;
                    for (Index u = 0; u <= t; ++u) {
                        sum += p[static_cast<std::size_t>(u)] *
                               v[(b * s.sequence + u) * s.v_stride + kv * d + j];
                    }
                    out[row * s.heads * d + h * d + j] = sum;
                }
            }
        }
    }
}

// d_p = d_out v^T;  d_s = p (d_p - sum(p d_p));  d_q = scale d_s k;  d_k = scale d_s^T q;  d_v = p^T d_out.
void attention_backward(const double* q, const double* k, const double* v, const double* d_out, double* d_q,
                        double* d_k, double* d_v, const AttentionShape& s) {
    const Index d = s.head_dim;
    std::vector<double> p = doubles(s.sequence);
    std::vector<double> d_p = doubles(s.sequence);
    for (Index i = 0; i < s.batch * s.sequence; ++i) {
        std::fill_n(d_q + i * s.q_stride, s.heads * d, 0);
        std::fill_n(d_k + i * s.k_stride, s.kv_heads * d, 0);
        std::fill_n(d_v + i * s.v_stride, s.kv_heads * d, 0);
    }
    for (Index b = 0; b < s.batch; ++b) {
        for (Index h = 0; h < s.heads; ++h) {
            const Index kv = h / (s.heads / s.kv_heads);
            for (Index t = 0; t < s.sequence; ++t) {
                const Index row = b * s.sequence + t;
                const double* query = q + row * s.q_stride + h * d;
                const double* upstream = d_out + row * s.heads * d + h * d;
                for (Index u = 0; u <= t; ++u) {
                    const Index other = b * s.sequence + u;
                    p[static_cast<std::size_t>(u)] = s.scale * dot(query, k + other * s.k_stride + kv * d, d);
                    d_p[static_cast<std::size_t>(u)] = dot(upstream, v + other * s.v_stride + kv * d, d);
                }
                softmax(p.data(), t + 1);
                const double delta = dot(p.data(), d_p.data(), t + 1);
                for (Index u = 0; u <= t; ++u) {
                    const Index other = b * s.sequence + u;
                    const double weight = p[static_cast<std::size_t>(u)];
                    const double d_s = s.scale * weight * (d_p[static_cast<std::size_t>(u)] - delta);
                    for (Index j = 0; j < d; ++j) {
                        d_q[row * s.q_stride + h * d + j] += d_s * k[other * s.k_stride + kv * d + j];
                        d_k[other * s.k_stride + kv * d + j] += d_s * query[j];
                        d_v[other * s.v_stride + kv * d + j] += weight * upstream[j];
                    }
                }
            }
        }
    }
}

void attention_decode(const double* q, const double* k_cache, const double* v_cache, double* out, Index batch,
                      Index length, Index length_max, Index heads, Index kv_heads, Index head_dim,
                      double scale) {
    std::vector<double> p = doubles(length);
    for (Index b = 0; b < batch; ++b) {
        for (Index h = 0; h < heads; ++h) {
            const Index kv = h / (heads / kv_heads);
            const Index cache = (b * length_max * kv_heads + kv) * head_dim;
            const Index head = (b * heads + h) * head_dim;
            for (Index u = 0; u < length; ++u) {
                const double* key = k_cache + cache + u * kv_heads * head_dim;
                p[static_cast<std::size_t>(u)] = scale * dot(q + head, key, head_dim);
            }
            softmax(p.data(), length);
            for (Index j = 0; j < head_dim; ++j) {
                double sum = 0;
                for (Index u = 0; u < length; ++u) {
                    sum += p[static_cast<std::size_t>(u)] * v_cache[cache + u * kv_heads * head_dim + j];
                }
                out[head + j] = sum;
            }
        }
    }
}

// loss = lse - logit[target] + z lse^2, so d_logit = p (1 + 2 z lse) - [target].
void head_loss(const double* hidden, const double* head, const std::int32_t* targets, double* losses,
               double* d_hidden, double* d_head, const HeadShape& s) {
    std::vector<double> logits = doubles(s.vocabulary);
    if (d_hidden != nullptr) std::fill_n(d_hidden, s.rows * s.channels, 0);
    for (Index i = 0; i < s.rows; ++i) {
        losses[i] = 0;
        if (targets[i] < 0) continue;
        const double* row = hidden + i * s.channels;
        for (Index w = 0; w < s.vocabulary; ++w) {
            logits[static_cast<std::size_t>(w)] = dot(row, head + w * s.channels, s.channels);
        }
        const double target = logits[static_cast<std::size_t>(targets[i])];
        const double lse = softmax(logits.data(), s.vocabulary);
        losses[i] = lse - target + s.z_loss * lse * lse;
        if (d_hidden == nullptr) continue;
        for (Index w = 0; w < s.vocabulary; ++w) {
            const double p = logits[static_cast<std::size_t>(w)] * (1 + 2 * s.z_loss * lse);
            const double d = s.loss_scale * (p - (w == targets[i] ? 1 : 0));
            for (Index c = 0; c < s.channels; ++c) {
                d_hidden[i * s.channels + c] += d * head[w * s.channels + c];
                d_head[w * s.channels + c] += d * row[c];
            }
        }
    }
}

// Loshchilov and Hutter 2019 (arXiv:1711.05101), algorithm 2, with decay scaled by the learning rate as in
// PyTorch.
double normal(std::uint64_t seed, std::uint64_t index) {
    const std::uint64_t within = index % 64;
    Rng words(seed);  // Philox with the seed as key, four words a counter
    words.seek((index / 64 * 16 + within % 16) * 4 + (within < 32 ? 0 : 2));
    const std::uint32_t u = words.bits32();
    const std::uint32_t v = words.bits32();
    const double radius = std::sqrt(-2 * std::log((2.0 * (u >> 9U) + 1) * 0x1p-24));
    const double quarters = ((v & 0x3FFFFFFFU) >> 6U) * 0x1p-24 - 0.5 + (v >> 30U);
    const double angle = quarters * std::numbers::pi / 2;
    return radius * (within % 32 < 16 ? std::cos(angle) : std::sin(angle));
}

void adamw(double* parameters, const double* gradients, double* m, double* v, std::size_t size,
           const AdamWShape& s) {
    const double correction1 = 1 - std::pow(s.beta1, static_cast<double>(s.step));
    const double correction2 = 1 - std::pow(s.beta2, static_cast<double>(s.step));
    for (std::size_t i = 0; i < size; ++i) {
        const double g = s.gradient_scale * gradients[i];
        m[i] = s.beta1 * m[i] + (1 - s.beta1) * g;
        v[i] = s.beta2 * v[i] + (1 - s.beta2) * g * g;
        parameters[i] -= s.learning_rate * s.weight_decay * parameters[i];
        parameters[i] -= s.learning_rate * (m[i] / correction1) / (std::sqrt(v[i] / correction2) + s.epsilon);
    }
}

}  // namespace Atoll::kernels::reference
