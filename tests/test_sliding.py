"""Sliding: the same numbers as PyTorch's pooling, faster."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from bkind3d_lite.sliding import box_mean, largest, smallest


@pytest.fixture
def images():
    return torch.randn(3, 2, 17, 24, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("k", [1, 3, 5, 7, 11])
def test_the_largest_and_the_smallest_are_those_of_the_window(images, k):
    assert torch.equal(largest(images, k), F.max_pool2d(images, k, 1, k // 2))
    assert torch.equal(smallest(images, k), -F.max_pool2d(-images, k, 1, k // 2))


def test_a_window_wider_than_the_image_holds_all_of_it(images):
    assert torch.equal(largest(images, 51), images.amax((-2, -1), True).expand_as(images))


@pytest.mark.parametrize("k", [3, 7])
@pytest.mark.parametrize("zeros", [True, False])
def test_means_are_those_of_the_window(images, k, zeros):
    once = F.avg_pool2d(images, k, 1, k // 2, count_include_pad=zeros)
    twice = F.avg_pool2d(once, k, 1, k // 2, count_include_pad=zeros)
    assert_close(box_mean(images, k, zeros=zeros), once)
    assert_close(box_mean(images, k, times=2, zeros=zeros), twice)
