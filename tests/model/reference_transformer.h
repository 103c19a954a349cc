// The same two families in double precision, written from their definitions with plain loops and tensor names
// only: an oracle that shares no code with model/transformer.cc or kernels.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/flat.h"
#include "model/config.h"
#include "model/data/batch.h"

namespace Atoll::model {

class ReferenceTransformer {
  public:
    ReferenceTransformer(const ModelConfig& config, const kernels::Layout& layout)
        : c_(config), layout_(layout) {}

    // Mean cross-entropy over targets that are not -1, plus z_loss * logsumexp^2.
    double loss(const std::vector<double>& parameters, const TokenBatch& batch, double z_loss = 0) {
        double total = 0;
        std::int64_t counted = 0;
        for (std::int64_t b = 0; b < batch.batch; ++b) {
            const std::span<const std::int32_t> tokens(batch.inputs.data() + b * batch.sequence,
                                                       static_cast<std::size_t>(batch.sequence));
            const Rows logits = this->logits(parameters, tokens);
            for (std::int64_t t = 0; t < batch.sequence; ++t) {
                const std::int32_t target = batch.targets[static_cast<std::size_t>(b * batch.sequence + t)];
                if (target < 0) continue;
                const std::vector<double>& row = logits[static_cast<std::size_t>(t)];
                double sum = 0;
                for (const double logit : row) sum += std::exp(logit);
                const double lse = std::log(sum);
                total += lse - row[static_cast<std::size_t>(target)] + z_loss * lse * lse;
                ++counted;
            }
        }
        return counted > 0 ? total / static_cast<double>(counted) : 0;
    }

    using Rows = std::vector<std::vector<double>>;

    // [T][V]
    Rows logits(const std::vector<double>& parameters, std::span<const std::int32_t> tokens) {
        p_ = &parameters;
        const bool gpt2 = c_.family == "gpt2";
        const std::string root = gpt2 ? "transformer." : "model.";
        const std::string embedding = gpt2 ? "transformer.wte.weight" : "model.embed_tokens.weight";
        Rows x;
        for (std::size_t t = 0; t < tokens.size(); ++t) {
            std::vector<double> row = matrix_row(embedding, tokens[t], c_.width);
            if (gpt2) add(row, matrix_row("transformer.wpe.weight", static_cast<std::int64_t>(t), c_.width));
            x.push_back(row);
        }
        for (std::int64_t i = 0; i < c_.layers; ++i) {
            const std::string block = root + (gpt2 ? "h." : "layers.") + std::to_string(i) + ".";
            add(x, attention(block, norm(x, block + (gpt2 ? "ln_1" : "input_layernorm"))));
            add(x, mlp(block, norm(x, block + (gpt2 ? "ln_2" : "post_attention_layernorm"))));
        }
        const Rows last = norm(x, root + (gpt2 ? "ln_f" : "norm"));
        return linear(last, c_.tied_head ? embedding : "lm_head.weight", "");
    }

  private:
    static void add(std::vector<double>& x, const std::vector<double>& y) {
        for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
    }
    static void add(Rows& x, const Rows& y) {
        for (std::size_t i = 0; i < x.size(); ++i) add(x[i], y[i]);
    }

    std::vector<double> tensor(const std::string& name) const {
        const kernels::TensorSlot* slot = layout_.find(name);
        if (slot == nullptr) return {};
        const auto begin = p_->begin() + static_cast<std::ptrdiff_t>(slot->offset);
        return {begin, begin + static_cast<std::ptrdiff_t>(slot->size)};
    }
    std::vector<double> matrix_row(const std::string& name, std::int64_t row, std::int64_t width) const {
        const std::vector<double> all = tensor(name);
        return {all.begin() + row * width, all.begin() + (row + 1) * width};
    }

    // y = x W^T + b, W [out, in]
    Rows linear(const Rows& x, const std::string& weight, const std::string& bias) const {
        const std::vector<double> w = tensor(weight);
        const std::vector<double> b = bias.empty() ? std::vector<double>{} : tensor(bias);
        const std::size_t in = x[0].size();
        const std::size_t out = w.size() / in;
        Rows y;
        for (const auto& row : x) {
            std::vector<double> result(out);
            for (std::size_t o = 0; o < out; ++o) {
                result[o] = b.empty() ? 0 : b[o];
                for (std::size_t j = 0; j < in; ++j) result[o] += row[j] * w[o * in + j];
            }
            y.push_back(result);
        }
        return y;
    }

    std::vector<double> norm_vector(const std::vector<double>& x, const std::vector<double>& weight,
                                    const std::vector<double>& bias, bool center) const {
        const auto n = static_cast<double>(x.size());
        double mean = 0;
        for (const double value : x) mean += center ? value / n : 0;
        double variance = 0;
        for (const double value : x) variance += (value - mean) * (value - mean) / n;
        std::vector<double> y(x.size());
        for (std::size_t i = 0; i < x.size(); ++i) {
            y[i] = (x[i] - mean) / std::sqrt(variance + c_.norm_epsilon) * weight[i] +
                   (bias.empty() ? 0 : bias[i]);
        }
        return y;
    }
    Rows norm(const Rows& x, const std::string& name) const {
        Rows y;
        for (const auto& row : x) {
            y.push_back(
                norm_vector(row, tensor(name + ".weight"), tensor(name + ".bias"), c_.family == "gpt2"));
        }
        return y;
    }

    // Head h of a row, normalised and rotated where the family says so.
    std::vector<double> head(const std::vector<double>& row, std::int64_t h, std::size_t position,
                             const std::string& qk_norm) const {
        std::vector<double> x(row.begin() + h * c_.head_dim, row.begin() + (h + 1) * c_.head_dim);
        if (c_.family == "gpt2") return x;
        if (c_.qk_norm) x = norm_vector(x, tensor(qk_norm), {}, false);
        const auto half = static_cast<std::size_t>(c_.head_dim / 2);
        std::vector<double> y(x.size());
        for (std::size_t j = 0; j < half; ++j) {
            const double angle = static_cast<double>(position) *
                                 std::pow(c_.rope_theta, -static_cast<double>(j) / static_cast<double>(half));
            y[j] = x[j] * std::cos(angle) - x[j + half] * std::sin(angle);
            y[j + half] = x[j + half] * std::cos(angle) + x[j] * std::sin(angle);
        }
        return y;
    }

    Rows attention(const std::string& block, const Rows& x) const {
        Rows q, k, v;
        const std::string self = block + "self_attn.";
        if (c_.family == "gpt2") {
            const Rows qkv = linear(x, block + "attn.c_attn.weight", block + "attn.c_attn.bias");
            for (const auto& row : qkv) {
                q.emplace_back(row.begin(), row.begin() + c_.width);
                k.emplace_back(row.begin() + c_.width, row.begin() + 2 * c_.width);
                v.emplace_back(row.begin() + 2 * c_.width, row.end());
            }
        } else {
            q = linear(x, self + "q_proj.weight", "");
            k = linear(x, self + "k_proj.weight", "");
            v = linear(x, self + "v_proj.weight", "");
        }
        Rows out(x.size(), std::vector<double>(static_cast<std::size_t>(c_.heads * c_.head_dim)));
        for (std::int64_t h = 0; h < c_.heads; ++h) {
            const std::int64_t group = h / (c_.heads / c_.kv_heads);
            for (std::size_t t = 0; t < x.size(); ++t) {
                const std::vector<double> query = head(q[t], h, t, self + "q_norm.weight");
                std::vector<double> weights;
                double sum = 0;
                for (std::size_t s = 0; s <= t; ++s) {
                    const std::vector<double> key = head(k[s], group, s, self + "k_norm.weight");
                    double score = 0;
                    for (std::size_t d = 0; d < key.size(); ++d) score += query[d] * key[d];
                    weights.push_back(std::exp(score / std::sqrt(static_cast<double>(c_.head_dim))));
                    sum += weights.back();
                }
                for (std::size_t s = 0; s <= t; ++s) {
                    for (std::int64_t d = 0; d < c_.head_dim; ++d) {
                        out[t][static_cast<std::size_t>(h * c_.head_dim + d)] +=
                            weights[s] / sum * v[s][static_cast<std::size_t>(group * c_.head_dim + d)];
                    }
                }
            }
        }
        if (c_.family == "gpt2") return linear(out, block + "attn.c_proj.weight", block + "attn.c_proj.bias");
        return linear(out, self + "o_proj.weight", "");
    }

    Rows mlp(const std::string& block, const Rows& x) const {
        if (c_.family == "gpt2") {
            Rows hidden = linear(x, block + "mlp.c_fc.weight", block + "mlp.c_fc.bias");
            for (auto& row : hidden) {
                for (double& value : row) {
                    const double inner = std::sqrt(2 / M_PI) * (value + 0.044715 * value * value * value);
                    value = 0.5 * value * (1 + std::tanh(inner));
                }
            }
            return linear(hidden, block + "mlp.c_proj.weight", block + "mlp.c_proj.bias");
        }
        Rows gate = linear(x, block + "mlp.gate_proj.weight", "");
        const Rows up = linear(x, block + "mlp.up_proj.weight", "");
        for (std::size_t t = 0; t < gate.size(); ++t) {
            for (std::size_t i = 0; i < gate[t].size(); ++i)
                gate[t][i] *= up[t][i] / (1 + std::exp(-gate[t][i]));
        }
        return linear(gate, block + "mlp.down_proj.weight", "");
    }

    ModelConfig c_;
    kernels::Layout layout_;
    const std::vector<double>* p_ = nullptr;
};

}  // namespace Atoll::model
