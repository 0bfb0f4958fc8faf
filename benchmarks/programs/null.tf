variable "n" {
  type = number
}

resource "terraform_data" "r" {
  count = var.n
  input = "1-${count.index}"
}
