// Package docker is the only door to the Docker Engine.
package docker
