"""What happens, in order, when something happens. A flow owns its transactions visibly and takes the wallet first."""
