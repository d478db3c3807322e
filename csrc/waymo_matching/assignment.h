// Maximum-weight assignment of a square matrix of integers (Kuhn 1955, Munkres 1957).
//
// Among assignments of equal weight the order of the search decides, and with it whose heading counts: rows join in
// ascending order, a row looks at columns in ascending order, older rows of the tree first, as in the official metrics.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace bevkd::waymo {

class Assignment {
 public:
  // weight [size, size] >= 0. -> the column of each row, valid until the next call.
  const std::vector<int>& solve(const int* weight, int size) {
    weight_ = weight;
    size_ = size;
    row_label_.resize(size);
    for (int row = 0; row < size; ++row) {
      row_label_[row] = *std::max_element(weight + int64_t(row) * size, weight + int64_t(row + 1) * size);
    }
    column_label_.assign(size, 0);
    column_of_.assign(size, -1);
    row_of_.assign(size, -1);
    for (int row = 0; row < size; ++row) place(row);
    return column_of_;
  }

 private:
  bool tight(int row, int column) const {
    return row_label_[row] + column_label_[column] == weight_[int64_t(row) * size_ + column];
  }

  // Grows a tree of tight edges from an unplaced row until it meets a free column.
  void place(int root) {
    tree_rows_.assign(1, root);
    visited_.assign(size_, false);
    parent_.resize(size_);
    find_neighbours();
    while (true) {
      if (!seek_unvisited()) {
        relax();
        find_neighbours();
        seek_unvisited();
      }
      const int column = neighbours_[next_];
      visited_[column] = true;
      parent_[column] = reached_from_[column];
      if (row_of_[column] < 0) return augment(root, column);
      tree_rows_.push_back(row_of_[column]);
      add_neighbours(row_of_[column]);
    }
  }

  bool seek_unvisited() {
    while (next_ < neighbours_.size() && visited_[neighbours_[next_]]) ++next_;
    return next_ < neighbours_.size();
  }

  void find_neighbours() {
    neighbours_.clear();
    reached_from_.assign(size_, -1);
    next_ = 0;
    for (const int row : tree_rows_) add_neighbours(row);
  }

  void add_neighbours(int row) {
    for (int column = 0; column < size_; ++column) {
      if (reached_from_[column] < 0 && tight(row, column)) {
        reached_from_[column] = row;
        neighbours_.push_back(column);
      }
    }
  }

  // Shifts the labels by the least slack that makes one more edge of the tree tight.
  void relax() {
    int least = std::numeric_limits<int>::max();
    for (const int row : tree_rows_) {
      for (int column = 0; column < size_; ++column) {
        if (visited_[column]) continue;
        least = std::min(least, row_label_[row] + column_label_[column] - weight_[int64_t(row) * size_ + column]);
      }
    }
    for (const int row : tree_rows_) row_label_[row] -= least;
    for (int column = 0; column < size_; ++column) {
      if (visited_[column]) column_label_[column] += least;
    }
  }

  void augment(int root, int column) {
    for (int row = -1; row != root;) {
      row = parent_[column];
      std::swap(column_of_[row], column);
      row_of_[column_of_[row]] = row;
    }
  }

  const int* weight_ = nullptr;
  int size_ = 0;
  size_t next_ = 0;  // the first neighbour that the tree has not visited
  std::vector<int> row_label_, column_label_, column_of_, row_of_;
  std::vector<int> tree_rows_, neighbours_, reached_from_, parent_;
  std::vector<char> visited_;
};

}  // namespace bevkd::waymo
