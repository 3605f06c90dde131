// Package blobstore keeps blobs, trees and the memo on one disk.
package blobstore
