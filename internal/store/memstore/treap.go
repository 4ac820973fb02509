package memstore

import (
	"bytes"
	"hash/maphash"
)

// node is one key of a treap: keys are in search order, priorities in heap
// order. A priority is a hash of the key, so the tree's shape depends on its
// keys only, not on their history. Nodes are never changed once a snapshot may
// see them; a nil node is the empty tree.
//
// Source: Seidel and Aragon, Randomized Search Trees, 1996.
type node struct {
	key, value  []byte
	priority    uint64
	left, right *node
}

// put returns the tree with key set to value. It keeps both slices.
func (n *node) put(seed maphash.Seed, key, value []byte) *node {
	fresh := &node{key: key, value: value, priority: maphash.Bytes(seed, key)}
	return n.insert(fresh)
}

func (n *node) insert(fresh *node) *node {
	if n == nil {
		return fresh
	}
	order := bytes.Compare(fresh.key, n.key)
	if order == 0 {
		fresh.left, fresh.right = n.left, n.right
		return fresh
	}
	if fresh.priority > n.priority {
		fresh.left, fresh.right = n.split(fresh.key)
		return fresh
	}
	c := *n
	if order < 0 {
		c.left = n.left.insert(fresh)
	} else {
		c.right = n.right.insert(fresh)
	}
	return &c
}

// split returns the trees of the keys below and above key, which must be absent.
// It is: only what has a lower priority than key's is ever split.
func (n *node) split(key []byte) (below, above *node) {
	if n == nil {
		return nil, nil
	}
	c := *n
	if bytes.Compare(n.key, key) < 0 {
		c.right, above = n.right.split(key)
		return &c, above
	}
	below, c.left = n.left.split(key)
	return below, &c
}

// remove returns the tree without key.
func (n *node) remove(key []byte) *node {
	if n == nil {
		return nil
	}
	order := bytes.Compare(key, n.key)
	if order == 0 {
		return join(n.left, n.right)
	}
	c := *n
	if order < 0 {
		c.left = n.left.remove(key)
		if c.left == n.left {
			return n
		}
	} else {
		c.right = n.right.remove(key)
		if c.right == n.right {
			return n
		}
	}
	return &c
}

// join returns the tree of all keys of a and b; all of a are below all of b.
func join(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		c := *a
		c.right = join(a.right, b)
		return &c
	default:
		c := *b
		c.left = join(a, b.left)
		return &c
	}
}

// get returns the node of key, or nil.
func (n *node) get(key []byte) *node {
	for n != nil {
		switch order := bytes.Compare(key, n.key); {
		case order < 0:
			n = n.left
		case order > 0:
			n = n.right
		default:
			return n
		}
	}
	return nil
}

// scan visits the keys in [lo, hi) in ascending order; a nil hi has no end.
func (n *node) scan(lo, hi []byte, visit func(key, value []byte) error) error {
	if n == nil {
		return nil
	}
	above := bytes.Compare(n.key, lo) >= 0
	below := hi == nil || bytes.Compare(n.key, hi) < 0
	if above {
		if err := n.left.scan(lo, hi, visit); err != nil {
			return err
		}
	}
	if above && below {
		if err := visit(n.key, n.value); err != nil {
			return err
		}
	}
	if below {
		return n.right.scan(lo, hi, visit)
	}
	return nil
}
