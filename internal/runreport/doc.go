// Package runreport turns the run folders of trainers and an evaluation into what people read: one self-contained
// page, and the numbers behind it as JSON. It computes every sentence from what the folders hold, and names what is
// missing.
package runreport
