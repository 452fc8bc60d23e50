// Package storev1 is the form in which stores keep tasks, steps and what belongs to them.
package storev1
