// Package util takes in anything.
package util // want `named after what it is for`
