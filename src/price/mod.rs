//! Usage and prices to money. Pure, in exact decimals.
